-- Host $1 was retired and is back: in the roll again from now on.
UPDATE host_latest SET joined_at = now() WHERE host_id = $1
