<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Schema;

/** Release 1.2.0: the column that the code of 1.0.0 needs is gone, and with it what only it said. */
return new class extends Migration
{
    public bool $irreversible = true;

    public function up(): void
    {
        DB::table('checks')->whereNull('status')->update(['status' => DB::raw('result')]);
        Schema::table('checks', fn (Blueprint $table) => $table->dropColumn('result'));
    }

    public function down(): void
    {
        throw new RuntimeException('this migration cannot be undone: restore the database from before it');
    }
};
