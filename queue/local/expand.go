package local

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mtakit/mtakit"
)

var (
	// ErrExpansion is wrapped when an alias leads to too much, or to nothing.
	ErrExpansion = errors.New("alias expansion error")
	// ErrDepth is wrapped when aliases and .forward files are nested too deep.
	ErrDepth = errors.New("nested too deep")
)

const (
	defaultLimit = 100_000
	defaultDepth = 100
)

type kind byte

const (
	toAddress kind = iota // elsewhere: through the queue
	toMailbox             // of one of our users
	toCommand
	toFile
	toFolder
)

// destination is one place that a recipient's mail goes to.
type destination struct {
	kind   kind
	text   string // address, command or file name
	sender string // the envelope's, or the owner of the list
	via    string // whose alias or .forward says so: an address
	user   *User  // whose .forward says so; nil means an alias
}

// digest names a destination in an envelope. It cannot be turned into one: what is
// delivered to is always what the tables say then.
func (t *destination) digest() string {
	sum := sha256.Sum256([]byte(string('0'+rune(t.kind)) + t.via + "\n" + t.text))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// expansion collects the destinations of a recipient.
type expansion struct {
	agent *Agent
	seen  map[string]bool // aliases and .forward files that were followed, and destinations
	found []destination
}

// hop is where an expansion is.
type hop struct {
	sender string
	via    string
	user   *User
	depth  int
}

// expand returns the destinations, each once. An envelope that is the rest of an earlier
// attempt has only those that were left.
func (a *Agent) expand(ctx context.Context, e *mtakit.Envelope, r *mtakit.Recipient) ([]destination, error) {
	x := &expansion{agent: a, seen: map[string]bool{}}
	if err := x.address(ctx, r.Address, hop{sender: e.Sender}); err != nil {
		return nil, err
	}
	rest, ok := e.Attrs[attrRest]
	if !ok {
		return x.found, nil
	}
	left := strings.Fields(rest)
	x.found = slices.DeleteFunc(x.found, func(t destination) bool { return !slices.Contains(left, t.digest()) })
	for i := range x.found {
		x.found[i].sender = e.Sender // it is the list's owner already
	}
	if len(x.found) == 0 {
		return nil, fmt.Errorf("%w: what was left to do is in no alias any more", ErrExpansion)
	}
	return x.found, nil
}

// address follows an address through aliases and .forward.
func (x *expansion) address(ctx context.Context, address string, h hop) error {
	if h.depth > cmp.Or(x.agent.Depth, defaultDepth) {
		return fmt.Errorf("%w: %.100q", ErrDepth, address)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A recipient that came here is ours, whatever Domains says.
	if h.depth > 0 {
		if ours, err := x.agent.local(ctx, address); err != nil {
			return err
		} else if !ours {
			return x.add(destination{toAddress, address, h.sender, h.via, h.user})
		}
	}
	done, err := x.alias(ctx, address, h)
	if done || err != nil {
		return err
	}
	return x.user(ctx, address, h)
}

// local reports whether an address is one of ours.
func (a *Agent) local(ctx context.Context, address string) (bool, error) {
	_, domain := split(address)
	if a.Domains == nil || domain == "" {
		return false, nil
	}
	_, ok, err := a.Domains.Lookup(ctx, strings.ToLower(domain))
	if err != nil {
		return false, fmt.Errorf("domains: look up %.100q: %w", domain, err)
	}
	return ok, nil
}

// first reports whether something is met for the first time.
func (x *expansion) first(what, name string) bool {
	key := what + strings.ToLower(name)
	if x.seen[key] {
		return false
	}
	x.seen[key] = true
	return true
}

func (x *expansion) alias(ctx context.Context, address string, h hop) (done bool, err error) {
	if x.agent.Aliases == nil || x.seen["alias "+strings.ToLower(address)] {
		return false, nil
	}
	list, ok, err := x.agent.Aliases.Destinations(ctx, address)
	if !ok || err != nil {
		return false, err
	}
	x.first("alias ", address)
	if len(list) == 0 {
		return false, fmt.Errorf("%w: the alias of %.100q is empty", ErrExpansion, address)
	}
	next := hop{sender: h.sender, via: address, depth: h.depth + 1}
	owner, ok, err := x.owner(ctx, address)
	if err != nil {
		return false, err
	}
	if ok && h.sender != "" { // a notice has no sender, and the owner gets no answer to one
		next.sender = owner
	}
	return true, x.all(ctx, list, next)
}

// owner returns the address that is told of what a list cannot deliver, when it exists.
func (x *expansion) owner(ctx context.Context, address string) (string, bool, error) {
	name, domain := split(address)
	name, _ = splitExtension(name, x.agent.Delimiter)
	if strings.HasPrefix(name, `"`) {
		return "", false, nil
	}
	owner := "owner-" + name + "@" + domain
	_, ok, err := x.agent.Aliases.Destinations(ctx, owner)
	return owner, ok, err
}

// user is the last step: .forward, or the mailbox.
func (x *expansion) user(ctx context.Context, address string, h hop) error {
	if list, u, err := x.dotForward(ctx, address); err != nil {
		return err
	} else if len(list) > 0 {
		return x.all(ctx, list, hop{sender: h.sender, via: address, user: u, depth: h.depth + 1})
	}
	return x.add(destination{toMailbox, address, h.sender, h.via, h.user})
}

func (x *expansion) all(ctx context.Context, list []string, h hop) error {
	for _, item := range list {
		if err := x.item(ctx, item, h); err != nil {
			return err
		}
	}
	return nil
}

func (x *expansion) item(ctx context.Context, item string, h hop) error {
	t := destination{toAddress, item, h.sender, h.via, h.user}
	switch {
	case strings.HasPrefix(item, "|"):
		t.kind, t.text = toCommand, item[1:]
	case strings.HasPrefix(item, "/") && strings.HasSuffix(item, "/"):
		t.kind = toFolder
	case strings.HasPrefix(item, "/"):
		t.kind = toFile
	case strings.HasPrefix(item, `\`):
		t.text = item[1:]
		if ours, err := x.agent.local(ctx, t.text); err != nil {
			return err
		} else if ours {
			t.kind = toMailbox
		}
	default:
		return x.address(ctx, item, h)
	}
	return x.add(t)
}

func (x *expansion) add(t destination) error {
	who := ""
	if t.user != nil && t.kind != toMailbox && t.kind != toAddress {
		who = t.user.Name
	}
	key := string('0'+rune(t.kind)) + who + " " + t.text
	if t.kind == toMailbox || t.kind == toAddress {
		key = strings.ToLower(key)
	}
	if x.seen[key] {
		return nil
	}
	if limit := cmp.Or(x.agent.Limit, defaultLimit); len(x.found) == limit {
		return fmt.Errorf("%w: more than %d destinations", ErrExpansion, limit)
	}
	x.seen[key] = true
	x.found = append(x.found, t)
	return nil
}

// splitExtension cuts a local part where its extension begins. With "-" the names of
// lists are whole: owner-list, list-request (owner_request_special).
func splitExtension(local, delimiters string) (user, extension string) {
	lower := strings.ToLower(local)
	if strings.HasPrefix(local, `"`) || strings.Contains(delimiters, "-") && (strings.HasPrefix(lower, "owner-") || strings.HasSuffix(lower, "-request")) {
		return local, ""
	}
	if i := strings.IndexAny(local, delimiters); i > 0 {
		return local[:i], local[i:]
	}
	return local, ""
}

// split cuts an address at its last @.
func split(address string) (local, domain string) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, ""
	}
	return address[:i], address[i+1:]
}
