package sim

import (
	"slices"
	"strings"
	"testing"

	"proxima/internal/sim/network"
)

func read(t *testing.T, rows string) *network.Table {
	t.Helper()
	net, err := network.Read(strings.NewReader("from,to,rtt_ms\n"+rows), "rtt.csv")
	if err != nil {
		t.Fatal(err)
	}
	return net
}

func TestABaseKeepsItsPlacesWhereTheyAre(t *testing.T) {
	base := Developed()
	moved, err := base.On(network.AWSSlow())
	if err != nil || !slices.Equal(moved.Places, base.Places) || moved.Network == base.Network {
		t.Errorf("on the slower table it is in %v: %v", moved.Places, err)
	}
}

func TestABaseElsewhereTakesPlacesFarApart(t *testing.T) {
	net := read(t, "asia-east1,asia-east2,12\nasia-east1,us-east1,170\nasia-east1,europe-west1,250\n"+
		"asia-east2,us-east1,180\nasia-east2,europe-west1,240\nus-east1,europe-west1,90\n")
	base := Developed()
	base.Places, base.Share = base.Places[:3], base.Share[:3]
	moved, err := base.On(net)
	if want := []string{"asia-east1", "europe-west1", "us-east1"}; err != nil || !slices.Equal(moved.Places, want) {
		t.Errorf("it is in %v, want %v: %v", moved.Places, want, err)
	}
	whole, err := Developed().On(net)
	if err != nil || len(whole.Places) != 4 || len(whole.Share) != 4 {
		t.Errorf("six of four places are %v with shares %v: %v", whole.Places, whole.Share, err)
	}
}

func TestTwoPlacesAreTooFewForABase(t *testing.T) {
	if _, err := Developed().On(read(t, "us-east1,europe-west1,90\n")); err == nil || !strings.Contains(err.Error(), "a table of 2 places is too small") {
		t.Errorf("the error is %v", err)
	}
}

func TestBothBasesHaveTheSameExperiments(t *testing.T) {
	held := HeldOut().Scenarios()
	for i, sc := range Developed().Scenarios() {
		if sc.Name != held[i].Name {
			t.Errorf("%s is %s on the held-out base", sc.Name, held[i].Name)
		}
		own, _, _ := strings.Cut(sc.Name, "/")
		if !slices.ContainsFunc(Experiments(), func(e About) bool { return e.Name == own }) {
			t.Errorf("%s is of no experiment", sc.Name)
		}
	}
}
