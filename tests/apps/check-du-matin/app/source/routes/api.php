<?php

use App\Http\Controllers\ExecutionController;
use App\Http\Controllers\StatusController;
use Illuminate\Support\Facades\Route;

Route::post('/executions', [ExecutionController::class, 'store']);
Route::get('/executions', [ExecutionController::class, 'index']);
Route::get('/executions/{id}', [ExecutionController::class, 'show']);
Route::get('/executions-summary', [ExecutionController::class, 'summary']);
Route::get('/scheduler', [StatusController::class, 'scheduler']);
