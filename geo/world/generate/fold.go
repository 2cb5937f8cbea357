package main

import (
	"math"
	"net/netip"

	"proxima/geo"
)

// limit says how much of the source is kept.
type limit struct {
	Finest        int     `json:"finest_prefix"`          // networks with longer prefixes are folded into one of this length
	SpreadKm      float64 `json:"spread_km"`              // networks are merged while their places lie this close together
	Small         int     `json:"small_prefix"`           // networks of this prefix and longer are small,
	SmallSpreadKm float64 `json:"small_prefix_spread_km"` // and are merged up to here
}

// record is what matters of a source record.
type record struct {
	Country string  `maxminddb:"country_code"`
	Lat     float64 `maxminddb:"latitude"`
	Lon     float64 `maxminddb:"longitude"`
}

func (r record) place() geo.Location {
	return geo.Location{Placed: true, Lat: r.Lat, Lon: r.Lon, Country: r.Country}
}

// filler reports whether the record is the one that the IPv6 source puts wherever nothing is allocated, 2000::/16 for a start:
// a small town in Switzerland. The clients who really live there remain unknown.
func (r record) filler() bool {
	return r.Country == "CH" && math.Abs(r.Lat-46.9219) < 1e-4 && math.Abs(r.Lon-7.16595) < 1e-4
}

// block is a network, its country, and the places of all that was merged into it. The empty country is space that nobody uses.
type block struct {
	prefix  netip.Prefix
	country string
	places  cluster
}

// fold turns the many networks of a family into few and large ones, in address order.
func fold(family family) ([]block, error) {
	f := folder{limit: family.limit}
	for network := range family.tree.Networks() {
		var r record
		if err := network.Decode(&r); err != nil {
			return nil, err
		}
		next := block{prefix: network.Prefix()}
		if next.prefix.Addr().Is4() || !r.filler() {
			next.country = r.Country
			next.places = clusterOf(r.place(), math.Ldexp(1, f.limit.Finest-next.prefix.Bits()))
		}
		f.add(next)
	}
	f.settle()
	return f.blocks, nil
}

// folder takes networks in address order. It only ever looks at the end of what it has: the last two blocks, when they are the
// halves of one network, may become that network.
type folder struct {
	limit  limit
	votes  []block // the networks of one finest prefix, gathered until the next one begins
	blocks []block
}

func (f *folder) add(next block) {
	if next.prefix.Bits() <= f.limit.Finest {
		f.settle()
		f.push(next)
		return
	}
	finest := netip.PrefixFrom(next.prefix.Addr(), f.limit.Finest).Masked()
	if len(f.votes) > 0 && f.votes[0].prefix != finest {
		f.settle()
	}
	next.prefix = finest
	f.votes = append(f.votes, next)
}

// settle gives a finest prefix to the country that has most of its addresses, the alphabetically first of equals.
func (f *folder) settle() {
	if len(f.votes) == 0 {
		return
	}
	countries := map[string]cluster{}
	for _, vote := range f.votes {
		countries[vote.country] = countries[vote.country].with(vote.places)
	}
	winner := block{prefix: f.votes[0].prefix}
	for country, places := range countries {
		more, same := places.weight > winner.places.weight, places.weight == winner.places.weight
		if more || same && country < winner.country {
			winner.country, winner.places = country, places
		}
	}
	f.votes = f.votes[:0]
	f.push(winner)
}

func (f *folder) push(next block) {
	f.blocks = append(f.blocks, next)
	for len(f.blocks) >= 2 {
		last := len(f.blocks) - 1
		whole, ok := f.limit.merge(f.blocks[last-1], f.blocks[last])
		if !ok {
			return
		}
		f.blocks = append(f.blocks[:last-1], whole)
	}
}

// merge joins the two halves of a network when one answer does for both.
func (l limit) merge(low, high block) (block, bool) {
	bits := low.prefix.Bits() - 1
	if bits < 0 || high.prefix.Bits() != low.prefix.Bits() || low.country != high.country {
		return block{}, false
	}
	whole := netip.PrefixFrom(low.prefix.Addr(), bits).Masked()
	if !whole.Contains(high.prefix.Addr()) {
		return block{}, false
	}
	spread := l.SpreadKm
	if bits >= l.Small {
		spread = l.SmallSpreadKm
	}
	places := low.places.with(high.places)
	return block{whole, low.country, places}, places.spreadKm() <= spread
}

// cluster is a cloud of places: the sum of their unit vectors, each as heavy as the addresses it stands for.
type cluster struct {
	sum    geo.Point
	weight float64
}

func clusterOf(place geo.Location, weight float64) cluster {
	p := place.Point()
	return cluster{geo.Point{X: p.X * weight, Y: p.Y * weight, Z: p.Z * weight}, weight}
}

func (c cluster) with(d cluster) cluster {
	return cluster{geo.Point{X: c.sum.X + d.sum.X, Y: c.sum.Y + d.sum.Y, Z: c.sum.Z + d.sum.Z}, c.weight + d.weight}
}

// spreadKm is the root mean square distance of the places from their centre, in a straight line. For unit vectors p with mean m
// and centre c = m/|m|, the mean of |p-c|² is 2 - 2|m|. The empty cluster has no spread.
func (c cluster) spreadKm() float64 {
	if c.weight == 0 {
		return 0
	}
	const earthKm = 6371.0088
	return earthKm * math.Sqrt(max(0, 2-2*length(c.sum)/c.weight))
}

// centre is the place in the middle, in degrees.
func (c cluster) centre() (lat, lon float64) {
	const degrees = 180 / math.Pi
	return math.Asin(c.sum.Z/length(c.sum)) * degrees, math.Atan2(c.sum.Y, c.sum.X) * degrees
}

func length(p geo.Point) float64 { return math.Sqrt(p.X*p.X + p.Y*p.Y + p.Z*p.Z) }
