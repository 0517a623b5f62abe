"""What sessions are and what is done to them, as plain dicts: the model that the machine holds the loop to.

A session is a dict as `shelf` reads it from the file. A call of the API that takes part in turns is a generator: it
runs when it is first in its session's line, changes the dict, and yields while its turn waits for model or tools.
`Book` says what must be heard next; whatever else is heard is a fault.
"""

from tests.model.book.book import Book
from tests.model.book.parts import Op, Refused, Run, Said, freeze
from tests.model.book.recovery import Recovery

__all__ = ["Book", "Op", "Recovery", "Refused", "Run", "Said", "freeze"]
