package lookup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Config is what a Postfix file of mysql_table(5), pgsql_table(5) or
// sqlite_table(5) says: mysql:/etc/postfix/virtual.cf. The caller opens the
// database with it, since no driver is part of this package, and then makes a
// table of it with SQL.
type Config struct {
	File           string // where it was read
	User, Password string // "" means that the file has none
	DBName         string // "" means that the file has none
	DBPath         string // of sqlite; "" means that the file has none
	Hosts          []Host // in the order of the file; never empty
	Query          string // also when the file has select_field, table and where_field in its place
	ResultFormat   string // "" means "%s"
	Domains        []string
	ExpansionLimit int // 0 means none
	// Params are all the parameters by their names, for what has no field here:
	// "charset", "tls_CAfile", "idle_interval".
	Params map[string]string
}

// Host is where a database listens.
type Host struct {
	Network string // "tcp" or "unix"
	// Address is a host name or an address, or the path of a socket. "" with
	// "unix" means the socket that the driver takes when it is told none, which
	// is also what "localhost" and no hosts at all mean in these files.
	Address string
	Port    string // "" means the database's usual one
}

// ReadConfig reads a file. See ParseConfig.
func ReadConfig(path string) (*Config, error) {
	text, _, err := readText(path)
	if err != nil {
		return nil, err
	}
	return ParseConfig(path, text)
}

// ParseConfig reads the text of a file; file is its name in errors. Unlike a
// table such a file is no good when one of its lines is none: the error is all
// of them together.
func ParseConfig(file, text string) (*Config, error) {
	params, err := parseParams(file, text)
	if err != nil {
		return nil, err
	}
	c := &Config{
		File: file, User: params["user"], Password: params["password"],
		DBName: params["dbname"], DBPath: params["dbpath"], ResultFormat: params["result_format"],
		Domains: listWords(params["domain"]), Params: params,
	}
	if limit := params["expansion_limit"]; limit != "" {
		if c.ExpansionLimit, err = strconv.Atoi(limit); err != nil || c.ExpansionLimit < 0 {
			return nil, fmt.Errorf("%s: bad expansion_limit %q", file, limit)
		}
	}
	if c.Hosts, err = parseHosts(params["hosts"]); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.Query, err = configQuery(params); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// parseParams reads "name = value" lines. The last of two with the same name
// counts.
func parseParams(file, text string) (map[string]string, error) {
	params := map[string]string{}
	var bad []error
	for line, err := range Lines(file, text) {
		if err != nil {
			bad = append(bad, err)
			continue
		}
		name, value, ok := strings.Cut(line.Text, "=")
		name = strings.Trim(name, space)
		if !ok || name == "" || strings.ContainsAny(name, space) {
			bad = append(bad, &LineError{file, line.Number, `expected "name = value"`})
			continue
		}
		params[name] = strings.Trim(value, space)
	}
	return params, errors.Join(bad...)
}

// listWords parts a list at commas and white space.
func listWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || strings.ContainsRune(space, r) })
}

func parseHosts(s string) ([]Host, error) {
	var hosts []Host
	for _, word := range listWords(s) {
		h, err := parseHost(word)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	if hosts == nil {
		hosts = []Host{{Network: "unix"}}
	}
	return hosts, nil
}

// parseHost reads "unix:/path", "inet:host:port", "host" or "[2001:db8::1]:3306".
func parseHost(s string) (Host, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return Host{}, fmt.Errorf("bad host %q", s)
		}
		return Host{Network: "unix", Address: path}, nil
	}
	name, port := strings.TrimPrefix(s, "inet:"), ""
	bracketed := strings.HasPrefix(name, "[")
	if i := strings.LastIndexByte(name, ':'); i >= 0 && (strings.Count(name, ":") == 1 || name[:i] != "" && name[i-1] == ']') {
		name, port = name[:i], name[i+1:]
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return Host{}, fmt.Errorf("bad port in host %q", s)
		}
	}
	if bracketed {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	if name == "" {
		return Host{}, fmt.Errorf("bad host %q", s)
	}
	if name == "localhost" && port == "" {
		return Host{Network: "unix"}, nil
	}
	return Host{Network: "tcp", Address: name, Port: port}, nil
}

// configQuery returns the query, or makes it of the parameters that stood in
// its place in old files.
func configQuery(p map[string]string) (string, error) {
	if p["query"] != "" {
		return p["query"], nil
	}
	if f := p["select_function"]; f != "" {
		return "SELECT " + f + "('%s')", nil
	}
	for _, name := range []string{"table", "select_field", "where_field"} {
		if p[name] == "" {
			return "", fmt.Errorf("neither query nor %s", name)
		}
	}
	q := "SELECT " + p["select_field"] + " FROM " + p["table"] + " WHERE " + p["where_field"] + " = '%s'"
	if more := p["additional_conditions"]; more != "" {
		q += " " + more
	}
	return q, nil
}

// Preferred returns the first socket among the hosts, or else the first host.
func (c *Config) Preferred() Host {
	for _, h := range c.Hosts {
		if h.Network == "unix" {
			return h
		}
	}
	return c.Hosts[0]
}

// SQL makes a table of the file's query and the database that the caller has
// opened. Domains that name other tables or files ("hash:/etc/postfix/domains")
// are an error: the caller opens them, puts them into the Domains of what
// SQLQuery returns, and gives that to NewSQL.
func (c *Config) SQL(db Querier, d Dialect) (*SQL, error) {
	q := c.SQLQuery(d)
	if len(c.Domains) > 0 {
		domains, err := c.domains()
		if err != nil {
			return nil, err
		}
		q.Domains = domains
	}
	t, err := NewSQL(db, q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return t, nil
}

// SQLQuery returns what NewSQL wants, without Domains.
func (c *Config) SQLQuery(d Dialect) SQLQuery {
	return SQLQuery{Query: c.Query, Result: c.ResultFormat, Limit: c.ExpansionLimit, Dialect: d}
}

func (c *Config) domains() (Inline, error) {
	domains := Inline{}
	for _, d := range c.Domains {
		if strings.ContainsAny(d, ":/!") {
			return nil, fmt.Errorf("%s: domain %q is no domain name", c.File, d)
		}
		domains[Fold(d)] = "OK"
	}
	return domains, nil
}

// String returns the file's name: a password is not for logs.
func (c *Config) String() string { return "config " + strconv.Quote(c.File) }
