package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
)

// counters counts events by their kind: all that a dashboard needs to begin with.
type counters struct {
	mu     sync.Mutex
	events map[mtakit.EventKind]uint64
	bytes  uint64 // of messages received
}

// Observe counts e.
func (c *counters) Observe(_ context.Context, e mtakit.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events == nil {
		c.events = make(map[mtakit.EventKind]uint64)
	}
	c.events[e.Kind]++
	if e.Kind == mtakit.EventReceived {
		c.bytes += uint64(e.Size)
	}
}

// ServeHTTP writes the counts in Prometheus' text format.
func (c *counters) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, "# HELP mtakit_events_total What happened to sessions and messages.\n# TYPE mtakit_events_total counter\n")
	for _, kind := range slices.Sorted(maps.Keys(c.events)) {
		fmt.Fprintf(w, "mtakit_events_total{kind=%q} %d\n", kind, c.events[kind])
	}
	fmt.Fprintf(w, "# HELP mtakit_received_bytes_total Sizes of the messages received.\n# TYPE mtakit_received_bytes_total counter\nmtakit_received_bytes_total %d\n", c.bytes)
}

// serveMetrics serves h under /metrics until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, h http.Handler) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	server.Serve(l)
}
