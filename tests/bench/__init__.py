"""The suite of `bench/` itself: that its workloads run, and what they count. Times are nobody's to assert."""
