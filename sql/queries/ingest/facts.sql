-- Changes what host $1 is, as its own record of time $2 tells: $3 cpu_number, $4 cpu_architecture,
-- $5 cpu_model, $6 cpu_mhz, $7 l2_cache [KiB], $8 total_mem [KiB], $9 os, $10 kernel,
-- $11 kernel_host_name, $12 booted_at. NULL: unknown, what was known stays.
--
-- Only a record younger than what is known counts: a backlog tells the past, and the handshake
-- before it told the present.
UPDATE host_info AS h
SET cpu_number = coalesce($3::integer, cpu_number),
    cpu_architecture = coalesce($4::text, cpu_architecture),
    cpu_model = coalesce($5::text, cpu_model),
    cpu_mhz = coalesce($6::float8, cpu_mhz),
    l2_cache = coalesce($7::bigint, l2_cache),
    total_mem = coalesce($8::bigint, total_mem),
    os = coalesce($9::text, os),
    kernel = coalesce($10::text, kernel),
    kernel_host_name = coalesce($11::text, kernel_host_name),
    booted_at = coalesce($12::timestamptz, booted_at),
    "timestamp" = least($2::timestamptz, now())
WHERE h.id = $1::integer
  AND h."timestamp" < $2::timestamptz
  AND (
      cpu_number, cpu_architecture, cpu_model, cpu_mhz, l2_cache, total_mem, os, kernel, kernel_host_name
  ) IS DISTINCT FROM (
      coalesce($3::integer, cpu_number), coalesce($4::text, cpu_architecture),
      coalesce($5::text, cpu_model), coalesce($6::float8, cpu_mhz), coalesce($7::bigint, l2_cache),
      coalesce($8::bigint, total_mem), coalesce($9::text, os), coalesce($10::text, kernel),
      coalesce($11::text, kernel_host_name)
  )
