package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKill kills the server at a random moment of a load on 20 connections,
// starts it again, and looks for every message that got a 250. It does so
// killRounds times:
//
//	go test -tags crash -run 'TestKill|TestPowerCut' -v -timeout 1h ./examples/mta
//
// makes that 200, and cuts the power 50 times.
//
// What is there twice was delivered before the kill, and not yet recorded as
// delivered: never more than there are deliveries at a time.
func TestKill(t *testing.T) {
	t.Parallel()
	const most = 600
	dir := t.TempDir()
	acked, doubled := 0, 0
	for round := range killRounds {
		p := launch(t, dir, "-log", "off")
		l := newLoad(1000*round, "alice@example.test", "bob@example.test", "carol@example.test")
		l.reaches = 1 + rand.IntN(most-100)
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(p.smtp, 20, most)
		}()
		<-l.reach
		p.kill(t)
		<-done
		require.Less(t, len(l.acked), most, "the server was killed too late to prove anything")

		p = launch(t, dir, "-log", "off")
		doubled += l.requireDelivered(t, p)
		acked += len(l.acked)
		p.kill(t)
		require.Empty(t, glob(t, filepath.Join(dir, "queue", "corrupt", "*")))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "mail")))
	}
	t.Logf("killed %d times: %d acknowledged, 0 lost, %d doubled", killRounds, acked, doubled)
	require.Less(t, doubled, 100*killRounds, "more than there can be deliveries at a time")
}
