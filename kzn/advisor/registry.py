"""The installed rules: entry points of the group ``kzn.advice``, usable and broken ones."""

from kzn.advisor.declaration import API, Rule
from kzn.plugins import PluginGroup

GROUP = "kzn.advice"
_RULES = PluginGroup(GROUP, "rule", Rule, API)
installed, usable = _RULES.installed, _RULES.usable
