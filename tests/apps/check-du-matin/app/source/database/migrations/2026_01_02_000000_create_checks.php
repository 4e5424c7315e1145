<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class extends Migration
{
    public function up(): void
    {
        Schema::create('checks', function (Blueprint $table): void {
            $table->id();
            $table->string('client');
            $table->string('result')->default('unknown');
            $table->timestamps();
            $table->index('created_at');
        });
        Schema::create('executions', function (Blueprint $table): void {
            $table->string('id', 64)->primary();
            $table->unsignedBigInteger('check_id')->nullable()->index();
            $table->unsignedInteger('milliseconds');
            $table->string('status')->default('pending')->index();
            $table->unsignedInteger('starts')->default(0);
            $table->unsignedInteger('completions')->default(0);
            $table->timestamp('created_at');
            $table->timestamp('finished_at')->nullable();
        });
        Schema::create('heartbeats', function (Blueprint $table): void {
            $table->string('name')->primary();
            $table->timestamp('beat_at');
        });
    }

    public function down(): void
    {
        foreach (['heartbeats', 'executions', 'checks'] as $table) {
            Schema::dropIfExists($table);
        }
    }
};
