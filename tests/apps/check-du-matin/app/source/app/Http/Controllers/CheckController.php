<?php

namespace App\Http\Controllers;

use App\Models\Check;
use Illuminate\Contracts\View\View;

final class CheckController
{
    public function index(): View
    {
        return view('checks', ['checks' => Check::query()->latest('id')->limit(20)->get(Check::columns())]);
    }
}
