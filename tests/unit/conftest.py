"""For unit tests: properties without a deadline, since seconds depend on the machine."""

import hypothesis

hypothesis.settings.register_profile("kzn", deadline=None)
hypothesis.settings.load_profile("kzn")
