'use client';

import { useState } from 'react';
import { PLACEHOLDER } from '../lib/placeholder.js';

// In the browser only. The mark makes this chunk another one in each release.
export default function BackOffice() {
  const [open, setOpen] = useState(false);
  return (
    <section>
      <button type="button" data-release={PLACEHOLDER} onClick={() => setOpen(!open)}>🔧 Back-office</button>
      {open && <p>Models, prompts and packing rules are kept in this browser.</p>}
    </section>
  );
}
