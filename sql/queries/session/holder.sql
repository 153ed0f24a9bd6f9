-- Who holds the stream of host $1.
SELECT run AS holder_run, aggregator AS holder_aggregator, aggregator_run AS holder_aggregator_run,
       peer AS holder_peer, machine_id AS holder_machine_id, opened_at AS held_since
FROM rowcall.session WHERE host_id = $1
