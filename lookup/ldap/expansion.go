package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/mtakit/mtakit/lookup"
)

// Errors of lookups that find too much.
var (
	// ErrRecursionLimit is wrapped when special attributes lead too deep, or to too
	// many searches.
	ErrRecursionLimit = errors.New("special attributes lead too far")
	// ErrSizeLimit is wrapped when a search finds more entries than the limit allows.
	ErrSizeLimit = errors.New("more entries than the size limit")
)

// errValue is wrapped when a value cannot be one of a table.
var errValue = errors.New("value with a NUL")

const (
	anything    = "(objectClass=*)"
	maxSearches = 10_000
)

// search is one question.
type search struct {
	base, filter string
	scope        Scope
	attributes   []string
}

// expansion collects the values of one key.
type expansion struct {
	table    *Table
	link     *link
	key      string
	values   []string
	searches int
}

// run searches, and goes into what is found.
func (e *expansion) run(ctx context.Context, s search, depth int) error {
	entries, err := e.search(ctx, s)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := e.entry(ctx, entry, depth); err != nil {
			return err
		}
	}
	return nil
}

func (e *expansion) search(ctx context.Context, s search) (entries []*goldap.Entry, err error) {
	if e.searches++; e.searches > maxSearches {
		return nil, fmt.Errorf("%w: %d searches", ErrRecursionLimit, maxSearches)
	}
	ctx, cancel := context.WithTimeout(ctx, e.table.config.Timeout)
	defer cancel()
	request := &goldap.SearchRequest{
		BaseDN: s.base, Filter: s.filter, Attributes: s.attributes,
		Scope:        map[Scope]int{Subtree: goldap.ScopeWholeSubtree, Base: goldap.ScopeBaseObject, OneLevel: goldap.ScopeSingleLevel}[s.scope],
		DerefAliases: int(e.table.config.Dereference), TimeLimit: seconds(e.table.config.Timeout),
		SizeLimit: max(e.table.config.SizeLimit, 0), EnforceSizeLimit: true,
	}
	if _, err := goldap.CompileFilter(s.filter); err != nil { // of a URL
		return nil, fmt.Errorf("%w: filter %q", ErrURL, s.filter)
	}
	err = e.link.during(ctx, func() error {
		result, err := e.link.Search(request)
		if err == nil {
			entries = result.Entries
		}
		return err
	})
	if goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) || errors.Is(err, goldap.ErrSizeLimitExceeded) {
		err = fmt.Errorf("%w of %d: %w", ErrSizeLimit, e.table.config.SizeLimit, err)
	}
	return entries, err
}

// seconds rounds up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// entry collects the values of one entry: of its terminal attributes, if it has one,
// or else of the others.
func (e *expansion) entry(ctx context.Context, entry *goldap.Entry, depth int) error {
	c := &e.table.config
	terminal, special := has(entry, c.Terminal), has(entry, c.Special)
	for _, a := range entry.Attributes {
		var err error
		switch {
		case terminal:
			if named(c.Terminal, a.Name) {
				err = e.collect(a.Values)
			}
		case named(c.Attributes, a.Name), !special && named(c.Leaf, a.Name):
			err = e.collect(a.Values)
		case named(c.Special, a.Name):
			err = e.follow(ctx, a, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// has reports whether the entry has one of the attributes.
func has(entry *goldap.Entry, names []string) bool {
	for _, a := range entry.Attributes {
		if len(a.Values) > 0 && named(names, a.Name) {
			return true
		}
	}
	return false
}

func named(names []string, name string) bool {
	for _, n := range names {
		if subtype(n, name) {
			return true
		}
	}
	return false
}

// collect adds values.
func (e *expansion) collect(values []string) error {
	for _, v := range values {
		if strings.IndexByte(v, 0) >= 0 {
			return errValue
		}
		s, ok := e.table.result.Expand(v, e.key, func(s string) string { return s })
		if v == "" || !ok || s == "" {
			continue
		}
		e.values = append(e.values, s)
		if limit := e.table.config.Limit; limit > 0 && len(e.values) > limit {
			return fmt.Errorf("%w of %d for %q", lookup.ErrExpansionLimit, limit, e.key)
		}
	}
	return nil
}

// follow searches for what the values of a special attribute name. An entry that is
// not there has no values.
func (e *expansion) follow(ctx context.Context, a *goldap.EntryAttribute, depth int) error {
	c := &e.table.config
	if depth+1 >= c.Recursion {
		return fmt.Errorf("%w: limit %d at %s", ErrRecursionLimit, c.Recursion, a.Name)
	}
	for _, v := range a.Values {
		s := search{base: v, scope: Base, filter: anything}
		if isURL(v) {
			var err error
			if s, err = parseURL(v); err != nil {
				return err
			}
		}
		if s.attributes = selected(e.table.attributes, s.attributes); s.attributes == nil {
			continue
		}
		if err := e.run(ctx, s, depth+1); err != nil && !goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject) {
			return fmt.Errorf("%s %.100q: %w", a.Name, v, err)
		}
	}
	return nil
}
