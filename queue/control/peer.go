package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
)

// Peer is who is at the other end of a connection, as the kernel knows it.
type Peer struct {
	UID, GID int
	PID      int
}

// Name is the peer's login name, or its user ID in digits when it has none:
// the key that tables are asked for.
func (p Peer) Name() string {
	id := strconv.Itoa(p.UID)
	u, err := user.LookupId(id)
	if err != nil || u.Username == "" {
		return id
	}
	return u.Username
}

// privileged says whether the peer may do everything: root, and the user that
// the server runs as, who can read and change the spool's files anyway.
func (p Peer) privileged() bool { return p.UID == 0 || p.UID == os.Geteuid() }

type peerKey struct{}

// withPeer is http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, peerKey{}, c.peer)
	}
	return ctx
}

func peerOf(ctx context.Context) (Peer, error) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	if !ok {
		return Peer{}, fmt.Errorf("%w: it is not known who you are", ErrDenied)
	}
	return p, nil
}

// Table says who may do something: found means that he may, whatever the value
// is, as in Postfix's authorized_mailq_users. The key is Peer.Name. An error
// means that the table could not answer: it is said to be a passing one. Lookup
// is called from many goroutines. Every table of package lookup is one.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}
