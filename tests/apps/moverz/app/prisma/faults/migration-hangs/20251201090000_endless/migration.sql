SELECT pg_sleep(86400);
