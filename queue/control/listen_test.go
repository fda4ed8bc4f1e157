package control

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for _, path := range []string{filepath.Join(t.TempDir(), "s"), filepath.Join(dir, "s")} {
		l, err := Listen(path, 0o640)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.ModeSocket|0o640, info.Mode())
		assert.True(t, Answers(path))

		_, err = Listen(path, 0o600)
		require.ErrorIs(t, err, ErrInUse, "somebody serves it")
		require.NoError(t, l.Close())
		require.NoFileExists(t, path)
		assert.False(t, Answers(path))

		// A crash leaves the socket.
		l, err = Listen(path, 0o600)
		require.NoError(t, err)
		require.NoError(t, l.(*socket).UnixListener.Close())
		require.FileExists(t, path)
		assert.False(t, Answers(path))
		l, err = Listen(path, 0o600)
		require.NoError(t, err)
		c, err := dial(path)
		require.NoError(t, err)
		require.NoError(t, c.Close())

		// Somebody else's socket in its place is not removed.
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
		require.NoError(t, l.Close())
		require.FileExists(t, path)
		_, err = Listen(path, 0o600)
		require.ErrorIs(t, err, fs.ErrExist)
		require.FileExists(t, path)
	}
	_, err := Listen(filepath.Join(dir, "missing", "s"), 0o600)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestCrowd opens more connections than one user may have.
func TestCrowd(t *testing.T) {
	t.Parallel()
	c := crowd{each: 2, all: 3}
	assert.True(t, c.enter(stranger))
	assert.True(t, c.enter(stranger))
	assert.False(t, c.enter(stranger))
	other := Peer{UID: 4321}
	assert.True(t, c.enter(other))
	assert.False(t, c.enter(other), "all places are taken")
	for range 10 {
		assert.True(t, c.enter(Peer{UID: 0}), "but not for root")
	}
	c.leave(stranger)
	c.leave(stranger)
	assert.NotContains(t, c.users, stranger.UID)
	assert.True(t, c.enter(other))
	c.leave(Peer{UID: 0})
	assert.Equal(t, 2, c.total)
}

// TestNotAUnixSocket has a listener whose peers nobody knows.
func TestNotAUnixSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = credentials(c)
	require.Error(t, err)
}
