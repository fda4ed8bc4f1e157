package filespool

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// alphabet has no vowels, so that no ID is a word, and is in the order of its
// bytes, so that IDs sort by time. Postfix's long queue IDs use the same.
const alphabet = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// ids makes queue IDs: the time in microseconds, which never goes back within a
// process, and a random part that is new in every process. So two IDs are only
// equal when two processes with the same random part, one in 20,000 million,
// live through the same microsecond of a clock that was set back.
type ids struct {
	mu   sync.Mutex
	last int64
	node [6]byte
}

func newIDs() *ids {
	g := new(ids)
	for i := range g.node {
		g.node[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return g
}

func (g *ids) next(now time.Time) string {
	g.mu.Lock()
	g.last = max(g.last+1, now.UnixMicro())
	n := g.last
	g.mu.Unlock()
	var b [20]byte
	i := len(b) - len(g.node)
	copy(b[i:], g.node[:])
	for ; n > 0; n /= int64(len(alphabet)) {
		i--
		b[i] = alphabet[n%int64(len(alphabet))]
	}
	return string(b[i:])
}

// seen makes IDs go on behind one that a clock that was set back might bring
// again.
func (g *ids) seen(id string) {
	if len(id) <= len(g.node) {
		return
	}
	n := int64(0)
	for _, c := range []byte(id[:len(id)-len(g.node)]) {
		d := strings.IndexByte(alphabet, c)
		if d < 0 || n > math.MaxInt64/1000 {
			return
		}
		n = n*int64(len(alphabet)) + int64(d)
	}
	// A clock that was a day ahead is forgiven; one that was years ahead was wrong.
	if n > g.last && n < time.Now().AddDate(0, 0, 1).UnixMicro() {
		g.last = n
	}
}

// validID tells whether a file name can be a queue ID of ours. Anything else in
// the spool's folders is not ours to touch.
func validID(name string) bool {
	if len(name) < 5 || len(name) > 32 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
