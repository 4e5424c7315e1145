<?php

use App\Http\Controllers\StatusController;
use Illuminate\Support\Facades\Route;

// No session, no cookie.
Route::get('/health', [StatusController::class, 'health']);
Route::get('/version', [StatusController::class, 'version']);
Route::get('/slow', [StatusController::class, 'slow']);
