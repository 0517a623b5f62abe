from tests.guards.command import main

raise SystemExit(main())
