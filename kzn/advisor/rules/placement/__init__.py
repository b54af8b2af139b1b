"""Rules whose change is where pods run.

Files: prefer_zone and run_in_zone (the change that rules share, and what it saves in all),
spread_first, single_zone_volume, batch, apart.
"""
