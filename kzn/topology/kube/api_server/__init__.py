"""What is known of the API server itself: whether it answers, its clock, its cluster's uid.

In: requests that were answered or not. Out: the moment of its return, a bound of its clock. Never:
a list or a watch.
Files: availability (one probe for all resources), api_clock (by the Date of answers), cluster_uid
(that of namespace kube-system).
"""
