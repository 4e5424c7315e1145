import prometheus from 'prom-client';
import { version } from './release.js';

// In cluster mode each instance counts for itself, and a scrape reaches any of them: the label tells which.
prometheus.register.setDefaultLabels({ version, instance_id: process.env.NODE_APP_INSTANCE ?? '0' });
prometheus.collectDefaultMetrics();

const labelNames = ['method', 'route', 'status_code'];
export const metrics = {
  duration: new prometheus.Histogram({ name: 'http_request_duration_seconds', help: 'Duration of HTTP requests in seconds', labelNames }),
  total: new prometheus.Counter({ name: 'http_requests_total', help: 'Total number of HTTP requests', labelNames }),
  active: new prometheus.Gauge({ name: 'active_connections', help: 'Number of active connections' }),
  reservations: new prometheus.Counter({ name: 'reservations_total', help: 'Total number of reservations', labelNames: ['status'] }),
  register: prometheus.register,
};
