"""The demo: kzn in a lab on this machine, its counts compared with those of the wire.

In: a `DemoConfig`. Out: a `Report`. Never: anything that the lab does not remove.
`run` starts the daemons and sends, `flow_log` sums what kzn counted, `report` compares, `cost`
says what a month of it would cost, `view` draws, `relay` makes the server's pages reachable.
"""
