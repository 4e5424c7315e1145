<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Schema;

/** Release 1.1.0: a column more, which the code of 1.0.0 does not see. */
return new class extends Migration
{
    public function up(): void
    {
        Schema::table('checks', fn (Blueprint $table) => $table->string('status')->nullable()->after('client'));
        DB::table('checks')->update(['status' => DB::raw('result')]);
    }

    public function down(): void
    {
        Schema::table('checks', fn (Blueprint $table) => $table->dropColumn('status'));
    }
};
