package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKill kills the server in the middle of a load of 2,000 messages on 20
// connections, starts it again, and looks for every message that got a 250.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, dir, "-log", "off")
	l := newLoad(0, "alice@example.test", "bob@example.test", "carol@example.test")
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(p.smtp, 20, 2000)
	}()
	<-l.reach
	p.kill(t)
	<-done
	require.Less(t, len(l.acked), 2000, "the server was killed too late to prove anything")

	p = launch(t, dir, "-log", "off")
	l.requireDelivered(t, p)
}
