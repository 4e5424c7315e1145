import { createRoot } from 'react-dom/client';
import { App } from './NotThere.jsx';

createRoot(document.getElementById('root')).render(<App />);
