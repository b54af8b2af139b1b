"""Rules whose change is the application or its configuration, or that there is none to make.

Files: kafka, scrapers, database_reads, proxy_chain, replication.
"""
