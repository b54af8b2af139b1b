"""What is known of the API server itself: whether it answers, and how far its clock is off.

In: requests that were answered or not. Out: the moment of its return, a bound of its clock. Never:
an object of the cluster.
Files: availability (one probe for all resources), api_clock (by the Date of answers).
"""
