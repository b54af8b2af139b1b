"""The installed price lists: entry points of the group ``kzn.prices``, usable and broken ones."""

from kzn.plugins import PluginGroup
from kzn.pricing.checked import mistake_of
from kzn.pricing.declaration import API, PriceList

GROUP = "kzn.prices"
_LISTS = PluginGroup(GROUP, "price list", PriceList, API, mistake_of)
installed, usable, find = _LISTS.installed, _LISTS.usable, _LISTS.find
