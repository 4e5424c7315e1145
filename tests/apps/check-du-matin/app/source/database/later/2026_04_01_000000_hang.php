<?php

use Illuminate\Database\Migrations\Migration;

/** Never ends by itself, like one that waits for a lock that nobody gives back. */
return new class extends Migration
{
    public function up(): void
    {
        for (;;) {
            sleep(3600);
        }
    }
};
