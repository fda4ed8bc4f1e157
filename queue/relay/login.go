package relay

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
)

// credentials are a user name and a password.
type credentials struct{ user, password string }

// login finds the credentials for a host, or nil when it wants none.
func (a *Agent) login(ctx context.Context, h host, next string) (*credentials, *trouble) {
	if a.Passwords == nil {
		return nil, nil
	}
	for _, key := range []string{h.name, next} {
		value, ok, err := a.Passwords.Lookup(ctx, key)
		if err != nil {
			return nil, &trouble{status: smtp.EnhancedCode{4, 3, 0}, text: "password table lookup failed", cause: err}
		}
		user, password, colon := strings.Cut(value, ":")
		switch {
		case ok && !colon:
			return nil, &trouble{status: smtp.EnhancedCode{4, 3, 5}, text: "password table has no user:password for " + key}
		case ok:
			return &credentials{user, password}, nil
		}
	}
	return nil, nil
}

// logIn authenticates (RFC 4954). Whatever the server has against it, the mail
// waits: the administrator can mend it.
func (s *session) logIn(c *credentials) *trouble {
	steps := []string{}
	encode := base64.StdEncoding.EncodeToString
	switch {
	case !s.tls:
		return &trouble{status: smtp.EnhancedCode{4, 7, 4}, site: true, text: "a password is not sent in plain text"}
	case slices.Contains(s.offers.auth, "PLAIN"):
		steps = append(steps, "AUTH PLAIN "+encode([]byte("\x00"+c.user+"\x00"+c.password)))
	case slices.Contains(s.offers.auth, "LOGIN"):
		steps = append(steps, "AUTH LOGIN", encode([]byte(c.user)), encode([]byte(c.password)))
	default:
		return &trouble{status: smtp.EnhancedCode{4, 7, 0}, site: true, text: "host " + s.host.remote + " offers neither AUTH PLAIN nor LOGIN"}
	}
	for i, step := range steps {
		reply, err := s.ask(step, s.times.HELO)
		if err != nil {
			return s.lost("sending AUTH", err)
		}
		want := 334
		if i == len(steps)-1 {
			want = 235
		}
		if reply.Code != want {
			return s.said("AUTH", reply).soften()
		}
	}
	return nil
}
