package router

import (
	"math"
	"net/netip"
	"sync/atomic"
)

// Cells hold what was learned about clients' neighbourhoods: how much the distance
// misses of the round trip from there to each region. A neighbourhood is a network
// prefix, /24 of IPv4 or /48 of IPv6, within a country. All methods are safe for
// concurrent use; only Remap takes turns with itself, none waits. Memory is bounded:
// so many prefixes, and the countries there are, at 8 bytes a region each and about
// a hundred for the cell itself.
type Cells struct {
	prefixes []cellSet // a power of two of them
	country  [26 * 26]atomic.Pointer[cell]
	layout   atomic.Pointer[layout]
	clock    atomic.Uint64 // counts lookups, to tell which prefix was asked for last
}

type cellSet [4]atomic.Pointer[cell]

// layout is which region has which position, until the next Remap. It is known by
// its address.
type layout struct{ regions int }

// cell is one neighbourhood. A row is never resized, only replaced.
type cell struct {
	prefix netip.Prefix // invalid: a country
	used   atomic.Uint64
	row    atomic.Pointer[row]
}

// row is what a cell knows, by the region positions of one layout.
type row struct {
	layout *layout
	misses []miss
}

func (l *layout) empty() *row { return &row{l, make([]miss, l.regions)} }

// miss is the mean of what the distance misses to a region, and of how many samples:
// a float32 of milliseconds and a count, in one word.
type miss struct{ bits atomic.Uint64 }

// How samples count. With four, a neighbourhood is believed as much as what is
// around it; the average follows no faster than a tenth of each.
const (
	shrinkage = 4
	missGain  = 0.1
)

// NewCells holds up to so many prefixes, a power of two, over so many regions.
func NewCells(most, regions int) *Cells {
	sets := 1
	for sets*2*len(cellSet{}) <= most {
		sets *= 2
	}
	c := &Cells{prefixes: make([]cellSet, sets)}
	c.layout.Store(&layout{regions})
	return c
}

// Learned is what is known about one client's neighbourhood. The zero value corrects
// nothing.
type Learned struct{ prefix, country []miss }

// Find returns what is known about the neighbourhood of a client. It does not allocate.
func (c *Cells) Find(client netip.Addr, country string) Learned {
	var l Learned
	if at := countryIndex(country); at >= 0 {
		l.country = c.country[at].Load().known()
	}
	if prefix, ok := neighbourhood(client); ok {
		set := c.set(prefix)
		for i := range set {
			if found := set[i].Load(); found != nil && found.prefix == prefix {
				found.used.Store(c.clock.Add(1))
				l.prefix = found.known()
				break
			}
		}
	}
	return l
}

// CorrectionMs is what to add to the round trip that the distance makes likely. With
// few samples a prefix is taken for its country, and a country for the distance.
func (l Learned) CorrectionMs(region int) float64 {
	return shrunk(l.prefix, region, shrunk(l.country, region, 0))
}

// shrunk is the mean of n samples, n/(n+4) of it, and of the parent's the rest.
func shrunk(misses []miss, region int, parent float64) float64 {
	if region < 0 || region >= len(misses) {
		return parent
	}
	mean, n := misses[region].read()
	return (float64(n)*mean + shrinkage*parent) / (float64(n) + shrinkage)
}

// known are the misses of a cell, by region position; nil of no cell.
func (c *cell) known() []miss {
	if c == nil {
		return nil
	}
	return c.row.Load().misses
}

// mostCountryMs bounds what one neighbourhood says of its country.
const mostCountryMs = 50

// Learn takes in that the distance from a client to a region missed so many
// milliseconds of the round trip, for its prefix, and once for each prefix, within
// bounds, for its country: a single stranger does not speak for a country.
func (c *Cells) Learn(client netip.Addr, country string, region int, missMs float64) {
	prefix, ok := neighbourhood(client)
	if !ok || region < 0 || math.IsNaN(missMs) || math.Abs(missMs) > 60_000 {
		return
	}
	if first := c.prefix(prefix).learn(region, missMs); !first {
		return
	}
	if at := countryIndex(country); at >= 0 {
		held := c.country[at].Load()
		if held == nil {
			made := c.newCell(netip.Prefix{})
			c.country[at].CompareAndSwap(nil, made)
			c.catchUp(made)
			held = c.country[at].Load()
		}
		held.learn(region, min(max(missMs, -mostCountryMs), mostCountryMs))
	}
}

// prefix finds a prefix's cell or makes one, in the place of the one in its set that
// was used least recently.
func (c *Cells) prefix(prefix netip.Prefix) *cell {
	set := c.set(prefix)
	oldest, least := 0, uint64(math.MaxUint64)
	for i := range set {
		held := set[i].Load()
		if held == nil {
			oldest, least = i, 0
			continue
		}
		if held.prefix == prefix {
			held.used.Store(c.clock.Add(1))
			return held
		}
		if used := held.used.Load(); used < least {
			oldest, least = i, used
		}
	}
	made := c.newCell(prefix)
	set[oldest].Store(made)
	c.catchUp(made)
	return made
}

func (c *Cells) newCell(prefix netip.Prefix) *cell {
	made := &cell{prefix: prefix}
	made.used.Store(c.clock.Add(1))
	made.row.Store(c.layout.Load().empty())
	return made
}

// catchUp empties a cell that was made for the regions of before. Call it once the
// cell is in its place: a Remap that began earlier may have passed there already, and
// one that begins later finds it.
func (c *Cells) catchUp(made *cell) {
	now := c.layout.Load()
	if was := made.row.Load(); was.layout != now {
		made.row.CompareAndSwap(was, now.empty())
	}
}

// learn reports whether the sample was the first.
func (c *cell) learn(region int, missMs float64) (first bool) {
	misses := c.known()
	return region < len(misses) && misses[region].add(missMs) == 1
}

func (m *miss) read() (mean float64, n uint32) {
	bits := m.bits.Load()
	return float64(math.Float32frombits(uint32(bits >> 32))), uint32(bits)
}

func (m *miss) add(sample float64) (n uint32) {
	for {
		bits := m.bits.Load()
		mean := float64(math.Float32frombits(uint32(bits >> 32)))
		if n = uint32(bits); n < math.MaxUint32 {
			n++
		}
		mean += max(1/float64(n), missGain) * (sample - mean)
		if m.bits.CompareAndSwap(bits, uint64(math.Float32bits(float32(mean)))<<32|uint64(n)) {
			return n
		}
	}
}

// Remap follows a change of the regions: from says for each new position which it
// was before, −1 for a region that was not there. What is learned meanwhile may be
// lost.
func (c *Cells) Remap(from []int) {
	next := &layout{len(from)}
	c.layout.Store(next)
	c.each(func(held *cell) {
		old := held.row.Load()
		if old.layout == next {
			return // made meanwhile
		}
		moved := next.empty()
		for at, was := range from {
			if was >= 0 && was < len(old.misses) {
				moved.misses[at].bits.Store(old.misses[was].bits.Load())
			}
		}
		held.row.CompareAndSwap(old, moved)
	})
}

// Len is how many prefixes are known.
func (c *Cells) Len() int {
	n := 0
	c.each(func(held *cell) {
		if held.prefix.IsValid() {
			n++
		}
	})
	return n
}

func (c *Cells) each(visit func(*cell)) {
	for i := range c.country {
		if held := c.country[i].Load(); held != nil {
			visit(held)
		}
	}
	for i := range c.prefixes {
		for j := range c.prefixes[i] {
			if held := c.prefixes[i][j].Load(); held != nil {
				visit(held)
			}
		}
	}
}

func (c *Cells) set(prefix netip.Prefix) *cellSet {
	b := prefix.Addr().As16()
	h := uint64(0)
	for _, x := range b[:8] {
		h = h<<8 | uint64(x)
	}
	low := uint64(0)
	for _, x := range b[8:] {
		low = low<<8 | uint64(x)
	}
	return &c.prefixes[mix(mix(h)^low)&uint64(len(c.prefixes)-1)]
}

// neighbourhood is the network that shares a way to everywhere: what the Internet
// routes as one.
func neighbourhood(client netip.Addr) (netip.Prefix, bool) {
	bits := 24
	client = client.Unmap()
	if client.Is6() {
		bits = 48
	}
	prefix, err := client.WithZone("").Prefix(bits)
	return prefix, err == nil && client.IsValid()
}

// countryIndex numbers the pairs of capital letters; −1 for anything else.
func countryIndex(country string) int {
	if len(country) != 2 {
		return -1
	}
	a, b := int(country[0])-'A', int(country[1])-'A'
	if a < 0 || a > 25 || b < 0 || b > 25 {
		return -1
	}
	return a*26 + b
}

// Approach is the round trip from a client to a region, given what the distance
// makes likely, the client's measured round trip to this router, and this router's to
// the region. By the triangle inequality, which holds for shortest ways and nearly for
// real ones, it lies between the difference of the two and their sum: the likely one
// is moved to the nearest of these. A client beside the router sees the regions as
// the router does; a far one teaches little. What is not known bounds nothing.
func Approach(priorMs, clientMs, pathMs float64) float64 {
	clientMs, pathMs = finite(clientMs, 0), finite(pathMs, 0)
	if clientMs == 0 || pathMs == 0 {
		return priorMs
	}
	return min(max(priorMs, math.Abs(pathMs-clientMs)), pathMs+clientMs)
}
