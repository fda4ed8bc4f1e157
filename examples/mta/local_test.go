package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/maildir"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/local"
)

// elsewhere is where mail for other domains ends in a test.
type elsewhere struct {
	mu  sync.Mutex
	got []string
}

func (a *elsewhere) Deliver(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	results := make([]mtakit.Result, len(d.Recipients))
	for i, r := range d.Recipients {
		a.got = append(a.got, d.Envelope.Sender+" to "+r.Address)
		results[i].Outcome = mtakit.Relayed
	}
	return results
}

// TestLocalDelivery has a list with an owner, an include, a command that fails once,
// a file and a mailbox, between a real queue and its agents.
func TestLocalDelivery(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("aliases"), []byte(fmt.Sprintf(
		"list: alice, :include:%s\nowner-list: bob\nall: list, |cat >>%s; test -e %s || { touch %s; exit 75; }, %s, |exit 67\n",
		path("members"), path("ran"), path("second"), path("second"), path("box"))), 0o600))
	require.NoError(t, os.WriteFile(path("members"), []byte("carol@example.net\n# gone: dave@example.net\n"), 0o600))
	require.NoError(t, os.Mkdir(path("mail"), 0o700))
	root, err := os.OpenRoot(path("mail"))
	require.NoError(t, err)
	defer root.Close()
	spool, err := filespool.Open(path("queue"), filespool.Options{})
	require.NoError(t, err)
	defer spool.Close()
	aliases, err := lookup.OpenAliases(path("aliases"), lookup.Options{})
	require.NoError(t, err)

	domains := lookup.Inline{"example.org": "OK"}
	boxes := lookup.Inline{"alice@example.org": "alice/", "bob@example.org": "bob/"}
	mailboxes := &maildir.Agent{Root: root, Mailboxes: boxes}
	defer mailboxes.Close()
	other := &elsewhere{}
	agent := &local.Agent{Mailboxes: mailboxes, Domains: domains, Commands: &local.Commands{}, Files: &local.Files{},
		Aliases: &rewrite.Aliases{Table: aliases, Domains: domains, Includes: rewrite.IncludeDirs{dir}},
		Default: &local.User{Name: "test", UID: os.Geteuid(), GID: os.Getegid()}}
	removed := make(chan struct{}, 100)
	manager := &queue.Manager{Spool: spool, Router: &rewrite.Router{Domains: domains},
		Agents:     map[string]queue.DeliveryAgent{"local": agent, "smtp": other},
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		Observer: mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
			if e.Kind == mtakit.EventRemoved {
				removed <- struct{}{}
			}
		})}
	agent.Queue = manager
	served := make(chan struct{})
	go func() { defer close(served); manager.Serve(context.Background()) }()

	draft, err := manager.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = draft.Write([]byte("Subject: hello\r\n\r\nHi\r\n"))
	require.NoError(t, err)
	_, err = draft.Commit(t.Context(), &mtakit.Envelope{Sender: "eve@example.com", Recipients: []mtakit.Recipient{{Address: "all@example.org"}}}, nil)
	require.NoError(t, err)
	// The message; the list's to carol, and to alice; the rest with the command; the
	// notice to eve that "|exit 67" knows nobody.
	for range 5 {
		select {
		case <-removed:
		case <-time.After(time.Minute):
			t.Fatal("mail stays in the queue")
		}
	}
	require.NoError(t, manager.Shutdown(t.Context()))
	<-served

	assert.ElementsMatch(t, []string{"owner-list@example.org to carol@example.net", " to eve@example.com"}, other.got)
	letters, err := filepath.Glob(path("mail/alice/new/*"))
	require.NoError(t, err)
	require.Len(t, letters, 1)
	text, err := os.ReadFile(letters[0])
	require.NoError(t, err)
	assert.Contains(t, string(text), "Return-Path: <owner-list@example.org>\nX-Original-To: all@example.org\n")
	for name, times := range map[string]int{"ran": 2, "box": 1} {
		text, err := os.ReadFile(path(name))
		require.NoError(t, err)
		assert.Equal(t, times, strings.Count(string(text), "Subject: hello\n"), "%s: the command failed once, and nobody else got the mail again", name)
	}
}
