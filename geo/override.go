package geo

import (
	"maps"
	"net/netip"
	"slices"
)

// Override is the operator's word on where a network is.
type Override struct {
	Prefix   netip.Prefix
	Location Location
}

// Overrides finds the most specific override for an address. It never changes; the zero Overrides is empty.
type Overrides struct {
	places   map[netip.Prefix]Location
	lengths4 []int // the prefix lengths in use, longest first: a lookup tries each once
	lengths6 []int
}

// NewOverrides builds the lookup. Host bits are ignored, ::ffff:10.0.0.0/104 means 10.0.0.0/8, an invalid prefix matches
// nothing, and of two overrides for the same network the later one counts.
func NewOverrides(list []Override) Overrides {
	places := make(map[netip.Prefix]Location, len(list))
	lengths4, lengths6 := map[int]bool{}, map[int]bool{}
	for _, override := range list {
		prefix, ok := canonical(override.Prefix)
		if !ok {
			continue
		}
		places[prefix] = override.Location
		if prefix.Addr().Is4() {
			lengths4[prefix.Bits()] = true
		} else {
			lengths6[prefix.Bits()] = true
		}
	}
	return Overrides{places: places, lengths4: longestFirst(lengths4), lengths6: longestFirst(lengths6)}
}

// canonical is the one way the network of a prefix can be written.
func canonical(prefix netip.Prefix) (netip.Prefix, bool) {
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), prefix.IsValid()
}

func longestFirst(lengths map[int]bool) []int {
	ascending := slices.Sorted(maps.Keys(lengths))
	slices.Reverse(ascending)
	return ascending
}

// Find returns the location of the longest prefix that contains the address, as it was given to NewOverrides. An IPv4 address
// written as IPv6 (::ffff:192.0.2.1) is the IPv4 address, and a zone is ignored. Find does not allocate.
func (o Overrides) Find(addr netip.Addr) (Location, bool) {
	addr = addr.Unmap().WithZone("")
	lengths := o.lengths6
	if addr.Is4() {
		lengths = o.lengths4
	}
	for _, bits := range lengths {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			return Location{}, false // only the zero Addr, which is in no network
		}
		if place, ok := o.places[prefix]; ok {
			return place, true
		}
	}
	return Location{}, false
}
