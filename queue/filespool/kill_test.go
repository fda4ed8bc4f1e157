package filespool_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"context"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
)

// load accepts messages with 20 writers until it is killed, and prints each ID
// when the message is durable. Every third is marked and every fourth removed,
// which is printed too.
func load(dir string) {
	ctx := context.Background()
	s, err := filespool.Open(dir, filespool.Options{MinFree: -1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(words ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(words...)
	}
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := 0; ; i++ {
				token := fmt.Sprintf("token-%d-%d", w, i)
				life(ctx, s, token, i, say)
			}
		})
	}
	wg.Wait()
}

func life(ctx context.Context, s *filespool.Spool, token string, i int, say func(...any)) {
	d, err := s.Begin(ctx, 0)
	if err != nil {
		return
	}
	io.WriteString(d, token+"\r\n\r\n"+strings.Repeat(token, 100))
	env := &mtakit.Envelope{Sender: token, Recipients: []mtakit.Recipient{{Address: "a@b"}, {Address: "c@d"}}}
	ids, err := s.Commit(ctx, []queue.Accept{{Draft: d, Envelope: env, Attempts: i % 2}}, nil)
	if err != nil {
		return
	}
	say("accepted", ids[0], token)
	if i%3 == 0 {
		if _, err := s.Commit(ctx, nil, []queue.Change{{ID: ids[0], Marks: []queue.Mark{{State: queue.Done}}, Defer: true}}); err == nil {
			say("marked", ids[0])
		}
	}
	if i%4 == 0 {
		say("removing", ids[0])
		if _, err := s.Commit(ctx, nil, []queue.Change{{ID: ids[0], Remove: true}}); err == nil {
			say("removed", ids[0])
		}
	}
}

// TestKill kills the process in the middle of its work, three times on the same
// spool, and looks whether everything that it acknowledged is there.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	said := map[string]map[string]string{}
	for range 3 {
		for _, line := range killAfter(t, dir, 400) {
			word := strings.Fields(line)
			if said[word[0]] == nil {
				said[word[0]] = map[string]string{}
			}
			said[word[0]][word[1]] = word[len(word)-1]
		}
		checkKilled(t, dir, said)
	}
}

// killAfter starts a process that loads dir, kills it after so many lines and
// returns all the lines it has written.
func killAfter(t *testing.T, dir string, lines int) (all []string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FILESPOOL_LOAD="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	guard := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer guard.Stop()
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break // the last line may be cut off
		}
		all = append(all, strings.TrimSuffix(line, "\n"))
		if len(all) == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	require.GreaterOrEqual(t, len(all), lines)
	return all
}

func checkKilled(t *testing.T, dir string, said map[string]map[string]string) {
	s, err := filespool.Open(dir, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	defer s.Close()
	found := map[string]queue.Entry{}
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		found[e.ID] = e
	}
	for id, token := range said["accepted"] {
		_, there := found[id]
		switch {
		case said["removed"][id] != "":
			require.False(t, there, "%s was removed", id)
		case said["removing"][id] == "":
			require.True(t, there, "%s was accepted", id)
		}
		if there {
			require.NoError(t, s.Check(t.Context(), id))
			require.Equal(t, token, found[id].Sender)
		}
		if there && said["marked"][id] != "" {
			require.Equal(t, 1, found[id].Pending, id)
		}
	}
}
