package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
)

var (
	// ErrType is wrapped when a reference names a type that the Opener does not have.
	ErrType = errors.New("unknown type of table")
	// ErrOutside is wrapped when a reference names a file outside of the Opener's Dirs.
	ErrOutside = errors.New("file is outside of the allowed directories")
)

// Opener turns references as they stand in Postfix's main.cf, "hash:/etc/aliases",
// into tables. It opens nothing but what its fields allow. It must not be copied
// after its first use.
type Opener struct {
	// Types has what opens each type of table. nil means those of Types.
	Types map[string]OpenFunc
	// Dirs are the directories in or below which files may be opened; where a
	// symbolic link leads counts, too. That is looked at when a table is opened, and
	// not when it is read again: who may write there is trusted. nil allows no file.
	Dirs []string
	// Base is put before names that are not absolute. "" refuses these.
	Base string
	// Options are those of the tables in files.
	Options Options

	mu     sync.Mutex
	opened map[string]LookupTable
	inUse  []LookupTable // in the order in which they were opened
}

// OpenFunc opens a table by what stands behind "type:" in a reference. Its table
// is closed with the Opener when it is an io.Closer.
type OpenFunc func(ctx context.Context, o *Opener, name string) (LookupTable, error)

// Types returns what opens the types of table that need nothing but this package.
// The caller may add to the map and take from it.
//
//	hash btree              the text file of that name, in the format of postmap(1) or, as
//	                        IsAliases sees, of aliases(5); a compiled .db is not looked at
//	texthash                the same in the format of postmap(1)
//	aliases                 the same in the format of aliases(5)
//	regexp pcre cidr        a file, or {{rule}, {rule}}
//	inline static fail      as Postfix has them
//	unix                    passwd.byname and group.byname, by getent(1), in lower case
//	pipemap unionmap randmap
//	tcp                     host:port
//	socketmap               inet:host:port:name or unix:path:name
//	memcache                a file of memcache_table(5)
//	proxy                   proxy:type:name is type:name
func Types() map[string]OpenFunc {
	text := openFile(func(path string, o Options) (*File, error) { return open(path, o, parseEither) })
	return map[string]OpenFunc{
		"hash": text, "btree": text, "texthash": openFile(OpenHash), "aliases": openFile(OpenAliases),
		"regexp": openRules(OpenRegexp, func(text string, o Options) (LookupTable, []error) { return ParseRegexp("inline", text, o) }),
		"pcre":   openRules(OpenPCRE, func(text string, o Options) (LookupTable, []error) { return ParsePCRE("inline", text, o) }),
		"cidr":   openRules(OpenCIDR, func(text string, o Options) (LookupTable, []error) { return ParseCIDR("inline", text, o) }),
		"inline": func(_ context.Context, _ *Opener, name string) (LookupTable, error) { return ParseInline(name) },
		"static": func(_ context.Context, _ *Opener, name string) (LookupTable, error) {
			value, err := unbrace(name)
			return Static(value), err
		},
		"fail": func(_ context.Context, _ *Opener, name string) (LookupTable, error) {
			return Fail{fmt.Errorf("%w: fail:%s", ErrFail, name)}, nil
		},
		"unix": openUnix, "proxy": openProxy, "randmap": openRand, "tcp": openTCP,
		"memcache": openMemcache, "socketmap": openSocketmap,
		"pipemap":  openNested(func(t []LookupTable) LookupTable { return Pipe(t...) }),
		"unionmap": openNested(func(t []LookupTable) LookupTable { return Union(t...) }),
	}
}

// maxReference bounds the nesting of references.
const maxReference = 10

type nesting struct{}

// nested notes that one reference stands within another.
func nested(ctx context.Context) (context.Context, error) {
	depth, _ := ctx.Value(nesting{}).(int)
	if depth > maxReference {
		return nil, fmt.Errorf("%w: nested too deep", ErrReference)
	}
	return context.WithValue(ctx, nesting{}, depth+1), nil
}

// Open opens the table of a reference, "type:name". A reference that was opened
// before gives the same table. The error wraps ErrReference, ErrType, ErrOutside,
// or what the table's opening failed with.
func (o *Opener) Open(ctx context.Context, reference string) (LookupTable, error) {
	ctx, err := nested(ctx)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	t := o.opened[reference]
	o.mu.Unlock()
	if t != nil {
		return t, nil
	}
	kind, name, ok := strings.Cut(reference, ":")
	if !ok || kind == "" || name == "" {
		return nil, fmt.Errorf("%w: %s, want type:name", ErrReference, quoteShort(reference))
	}
	open := o.types()[kind]
	if open == nil {
		return nil, fmt.Errorf("%w: %s", ErrType, quoteShort(kind))
	}
	if t, err = open(ctx, o, name); err != nil {
		return nil, fmt.Errorf("table %s: %w", quoteShort(reference), err)
	}
	return o.keep(reference, t)
}

// Maps opens the tables of a parameter that ends in _maps, "hash:/a, mysql:/b",
// and makes one of them. An empty text has no keys.
func (o *Opener) Maps(ctx context.Context, references string) (Tables, error) {
	words, err := splitWords(references)
	if err != nil {
		return nil, err
	}
	var all Tables
	for _, w := range words {
		t, err := o.Open(ctx, w)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func (o *Opener) types() map[string]OpenFunc {
	if o.Types == nil {
		return Types()
	}
	return o.Types
}

// keep notes that a table is open. Somebody else may have opened it meanwhile, or it
// is that of another reference, as behind "proxy:": what is in use is not closed.
func (o *Opener) keep(reference string, t LookupTable) (LookupTable, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := slices.ContainsFunc(o.inUse, func(other LookupTable) bool { return sameTable(t, other) })
	if first := o.opened[reference]; first != nil {
		if c, ok := t.(io.Closer); ok && !known {
			return first, c.Close()
		}
		return first, nil
	}
	if o.opened == nil {
		o.opened = map[string]LookupTable{}
	}
	o.opened[reference] = t
	if !known {
		o.inUse = append(o.inUse, t)
	}
	return t, nil
}

// sameTable compares tables, of which some are maps, which cannot be compared and have
// nothing to close.
func sameTable(a, b LookupTable) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// File returns the path of a file that may be opened: for a link from outside of Dirs
// that of the file it leads to, since there it may lead elsewhere tomorrow. The error
// wraps ErrOutside, ErrReference, or fs.ErrNotExist.
func (o *Opener) File(name string) (string, error) {
	if !filepath.IsAbs(name) {
		if o.Base == "" {
			return "", fmt.Errorf("%w: %s is not absolute", ErrReference, quoteShort(name))
		}
		name = filepath.Join(o.Base, name)
	}
	name = filepath.Clean(name)
	real, err := filepath.EvalSymlinks(name)
	if err != nil && !inOneOf(name, o.Dirs) {
		return "", fmt.Errorf("%w: %s", ErrOutside, name) // whether it is there is nobody's business
	}
	if err != nil {
		return "", fmt.Errorf("table %w", err)
	}
	for _, dir := range o.Dirs {
		target, err := filepath.EvalSymlinks(dir)
		switch {
		case err != nil || !inOneOf(real, []string{target}):
		case inOneOf(name, append([]string{target}, o.Dirs...)):
			return name, nil
		default:
			return real, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrOutside, name)
}

func inOneOf(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		rel, err := filepath.Rel(dir, name)
		return err == nil && filepath.IsLocal(rel)
	})
}

// Reload has every open table that can read its file again, as at SIGHUP.
func (o *Opener) Reload(ctx context.Context) error {
	var errs []error
	o.mu.Lock()
	all := slices.Clone(o.inUse)
	o.mu.Unlock()
	for _, t := range all {
		if r, ok := t.(interface{ Reload(context.Context) error }); ok {
			errs = append(errs, r.Reload(ctx))
		}
	}
	return errors.Join(errs...)
}

// Close closes every open table that is an io.Closer, those that were opened last
// first. Nobody may use them any more.
func (o *Opener) Close() error {
	o.mu.Lock()
	all := o.inUse
	o.opened, o.inUse = nil, nil
	o.mu.Unlock()
	slices.Reverse(all)
	var errs []error
	for _, t := range all {
		if c, ok := t.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// openFile makes an OpenFunc of what opens a file.
func openFile(open func(path string, opts Options) (*File, error)) OpenFunc {
	return func(_ context.Context, o *Opener, name string) (LookupTable, error) {
		path, err := o.File(name)
		if err != nil {
			return nil, err
		}
		return asTable(open(path, o.Options))
	}
}

// asTable keeps a nil *File from becoming a table that is not nil.
func asTable(f *File, err error) (LookupTable, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openRules opens a file of rules, or rules in braces, of which bad ones are skipped
// as those of files are.
func openRules(open func(string, Options) (*File, error), parse func(string, Options) (LookupTable, []error)) OpenFunc {
	file := openFile(open)
	return func(ctx context.Context, o *Opener, name string) (LookupTable, error) {
		if !strings.HasPrefix(name, "{") {
			return file(ctx, o, name)
		}
		text, err := bracedLines(name)
		if err != nil {
			return nil, err
		}
		t, problems := parse(text, o.Options)
		logProblems(o.Options.logger(), "inline", problems)
		return t, nil
	}
}

// openNested opens the tables that stand in braces.
func openNested(join func([]LookupTable) LookupTable) OpenFunc {
	return func(ctx context.Context, o *Opener, name string) (LookupTable, error) {
		words, err := splitBraces(name)
		if err != nil {
			return nil, err
		}
		var all []LookupTable
		for _, w := range words {
			t, err := o.Open(ctx, w)
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%w: no table in the braces", ErrReference)
		}
		return join(all), nil
	}
}

func openRand(_ context.Context, _ *Opener, name string) (LookupTable, error) {
	words, err := splitBraces(name)
	if err == nil && len(words) == 0 {
		err = fmt.Errorf("%w: no value in the braces", ErrReference)
	}
	return Rand(words), err
}

func openProxy(ctx context.Context, o *Opener, name string) (LookupTable, error) {
	return o.Open(ctx, name)
}

func openTCP(_ context.Context, _ *Opener, name string) (LookupTable, error) {
	if _, _, err := net.SplitHostPort(name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReference, err)
	}
	return &TCP{Remote{Address: name}}, nil
}

func openSocketmap(_ context.Context, _ *Opener, reference string) (LookupTable, error) {
	network, rest, _ := strings.Cut(reference, ":")
	i := strings.LastIndexByte(rest, ':')
	if i <= 0 || i == len(rest)-1 || network != "inet" && network != "unix" {
		return nil, fmt.Errorf("%w: want inet:host:port:name or unix:path:name", ErrReference)
	}
	t := &Socketmap{Remote: Remote{Network: "unix", Address: rest[:i]}, Name: rest[i+1:]}
	if network == "inet" {
		t.Network = "tcp"
		if _, _, err := net.SplitHostPort(t.Address); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrReference, err)
		}
	}
	return t, nil
}

func openUnix(_ context.Context, _ *Opener, name string) (LookupTable, error) {
	database, ok := strings.CutSuffix(name, ".byname")
	if !ok || database != "passwd" && database != "group" {
		return nil, fmt.Errorf("%w: want passwd.byname or group.byname", ErrReference)
	}
	return Folded{Getent{Database: database}}, nil
}

// OpenSQL makes an OpenFunc of a type whose references name files of
// mysql_table(5) and its like. What a file asks of the connection that Config.Check
// refuses is an error. connect opens the database of such a file with the
// driver of the caller's choice, over TLS where Config.TLS says so, and is asked once for each reference; what it
// returns is closed with the Opener when it is an io.Closer. Domains that name other tables
// are opened by the same Opener.
func OpenSQL(dialect Dialect, connect func(ctx context.Context, c *Config) (Querier, error)) OpenFunc {
	return func(ctx context.Context, o *Opener, name string) (LookupTable, error) {
		path, err := o.File(name)
		if err != nil {
			return nil, err
		}
		c, err := ReadConfig(path)
		if err != nil {
			return nil, err
		}
		if dialect == SQLite && c.DBPath == "" { // the driver would make an empty database
			return nil, fmt.Errorf("%s: no dbpath", path)
		}
		if err := c.Check(dialect); err != nil {
			return nil, err
		}
		db, err := connect(ctx, c)
		if err != nil {
			return nil, err
		}
		t, err := c.sqlTable(ctx, o, db, dialect)
		if closer, ok := db.(io.Closer); ok && err != nil {
			return nil, errors.Join(err, closer.Close())
		}
		return t, err
	}
}

// closingSQL is a table that closes its database.
type closingSQL struct {
	*SQL
	db Querier
}

func (t closingSQL) Close() error {
	if c, ok := t.db.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (c *Config) sqlTable(ctx context.Context, o *Opener, db Querier, dialect Dialect) (LookupTable, error) {
	q := c.SQLQuery(dialect)
	domains, err := o.Domains(ctx, c.Params["domain"])
	if err != nil {
		return nil, err
	}
	q.Domains = domains
	t, err := NewSQL(db, q)
	if err != nil {
		return nil, err
	}
	return closingSQL{t, db}, nil
}

// Domains returns the table that the parameter domain of a *.cf file stands for, nil
// when it is empty: domains, "!" before those that are none, files with more of the
// list, and tables.
func (o *Opener) Domains(ctx context.Context, list string) (LookupTable, error) {
	return domainTable(listWords(list), func(reference string) (LookupTable, error) { return o.listed(ctx, reference) })
}

// listed opens what stands in a list of names beside names: a table, or a file with
// more of the list.
func (o *Opener) listed(ctx context.Context, reference string) (LookupTable, error) {
	if !strings.HasPrefix(reference, "/") {
		return o.Open(ctx, reference)
	}
	ctx, err := nested(ctx)
	if err != nil {
		return nil, err
	}
	path, err := o.File(reference)
	if err != nil {
		return nil, err
	}
	text, _, err := readText(path)
	if err != nil {
		return nil, err
	}
	words := []string{}
	for line, err := range Lines(path, text) {
		if err != nil {
			return nil, err
		}
		words = append(words, listWords(line.Text)...)
	}
	return domainList{}.with(words, func(reference string) (LookupTable, error) { return o.listed(ctx, reference) })
}
