package maildir_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/maildir"
)

// owned makes an agent that gives alice's and bob's mail to them.
func owned(t *testing.T) (*maildir.Agent, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	a, dir := newAgent(t)
	a.UIDs = table{alice: "5001", "bob@example.org": "5002", "file@example.org": "5003"}
	a.GIDs = table{alice: "6001", "bob@example.org": "6002", "file@example.org": "6003"}
	return a, dir
}

// belongs returns "uid:gid mode".
func belongs(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %s", st.Uid, st.Gid, info.Mode())
}

func TestOwner(t *testing.T) {
	t.Parallel()
	a, dir := owned(t)
	a.Quotas = table{alice: "2C"}
	var group sync.WaitGroup
	for range 10 { // who makes the mailbox is left to chance
		group.Go(func() {
			r := a.Deliver(t.Context(), delivery(mail, "bob@example.org"))[0]
			assert.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
		})
	}
	group.Wait()
	for _, want := range []mtakit.Outcome{mtakit.Delivered, mtakit.Delivered, mtakit.Bounced} {
		require.Equal(t, want, outcome(t, a, mail).Outcome)
	}
	assert.Equal(t, "0:0 drwx--x--x", belongs(t, dir+"/example.org"))
	for name, id := range map[string]string{"alice": "5001:6001", "bob": "5002:6002"} {
		box := filepath.Join(dir, "example.org", name)
		require.NoError(t, filepath.WalkDir(box, func(path string, d fs.DirEntry, err error) error {
			require.NoError(t, err)
			if d.IsDir() {
				assert.Equal(t, id+" drwx------", belongs(t, path), path)
			} else {
				assert.Equal(t, id+" -rw-------", belongs(t, path), path)
			}
			return nil
		}))
		left, err := os.ReadDir(box)
		require.NoError(t, err)
		for _, e := range left {
			assert.Contains(t, []string{"cur", "new", "tmp", "maildirsize"}, e.Name())
		}
	}
	assert.Len(t, files(t, dir+"/example.org/bob/new/*"), 10)
}

func TestOwnerFails(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(a *maildir.Agent){
		"root":              func(a *maildir.Agent) { a.UIDs = table{alice: "0"} },
		"a low number":      func(a *maildir.Agent) { a.UIDs = table{alice: "99"} },
		"lower than wanted": func(a *maildir.Agent) { a.MinUID = 5002 },
		"root's group":      func(a *maildir.Agent) { a.GIDs = table{alice: "0"} },
		"a name":            func(a *maildir.Agent) { a.UIDs = table{alice: "alice"} },
		"negative":          func(a *maildir.Agent) { a.UIDs = table{alice: "-1"} },
		"huge":              func(a *maildir.Agent) { a.UIDs = table{alice: "4294967295"} },
		"no user":           func(a *maildir.Agent) { a.UIDs = table{} },
		"no groups":         func(a *maildir.Agent) { a.GIDs = nil },
	} {
		a, dir := owned(t)
		set(a)
		r := outcome(t, a, mail)
		assert.Equal(t, mtakit.Deferred, r.Outcome, name)
		assert.Equal(t, smtp.EnhancedCode{4, 3, 5}, r.Status, name)
		assert.Empty(t, files(t, dir+"/*"), name)
	}
}

// TestNotHis: alice has put links to bob's Maildir into the place of hers, and of
// her folders. Nothing of his changes.
func TestNotHis(t *testing.T) {
	t.Parallel()
	for _, link := range []string{"example.org/alice", "example.org/alice/new", "example.org/alice/tmp"} {
		a, dir := owned(t)
		a.Quotas = table{alice: "100C"}
		require.Equal(t, mtakit.Delivered, a.Deliver(t.Context(), delivery(mail, "bob@example.org"))[0].Outcome)
		require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, link)))
		target := "bob"
		if filepath.Base(link) != "alice" {
			target = "../bob/" + filepath.Base(link)
		}
		require.NoError(t, os.Symlink(target, filepath.Join(dir, link)))
		require.Equal(t, mtakit.Deferred, outcome(t, a, mail).Outcome, link)
		assert.Len(t, files(t, dir+"/example.org/bob/*/*"), 1)
		assert.NoFileExists(t, dir+"/example.org/bob/maildirsize")
	}
	a, dir := owned(t)
	require.NoError(t, os.MkdirAll(dir+"/example.org/alice/new", 0o700))
	require.NoError(t, os.MkdirAll(dir+"/example.org/alice/tmp", 0o700))
	r := outcome(t, a, mail)
	assert.Equal(t, smtp.EnhancedCode{4, 3, 5}, r.Status, "root's")
}
