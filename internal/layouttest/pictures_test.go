package layouttest

import (
	"encoding/xml"
	"fmt"
	"path/filepath"
	"testing"
)

type rect struct {
	Class  string  `xml:"class,attr"`
	X      float64 `xml:"x,attr"`
	Y      float64 `xml:"y,attr"`
	Width  float64 `xml:"width,attr"`
	Height float64 `xml:"height,attr"`
}

func (r rect) overlaps(o rect) bool {
	return r.X < o.X+o.Width && o.X < r.X+r.Width && r.Y < o.Y+o.Height && o.Y < r.Y+r.Height
}

// brokersInPods says which brokers a picture draws inside a pod, and how many it draws.
func brokersInPods(svg []byte) (drawn int, err error) {
	var picture struct {
		Rects []rect `xml:"rect"`
	}
	if err := xml.Unmarshal(svg, &picture); err != nil {
		return 0, err
	}
	for _, broker := range picture.Rects {
		if broker.Class != "kafka" {
			continue
		}
		drawn++
		for _, pod := range picture.Rects {
			if pod.Class == "frame" && pod.overlaps(broker) {
				return drawn, fmt.Errorf("the brokers at x %v, y %v are drawn inside the pod", broker.X, broker.Y)
			}
		}
	}
	return drawn, nil
}

// A pod has apps and their sidecar; Kafka is elsewhere, also in pictures.
func TestPicturesDrawTheBrokersOutsideOfThePod(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "docs", "img", "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, name := range names {
		drawn, err := brokersInPods(read(t, "docs/img/"+filepath.Base(name)))
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
		all += drawn
	}
	if all < 3 {
		t.Errorf("%d boxes of brokers found in %d pictures: are they still rects of the class kafka?", all, len(names))
	}
	const inside = `<svg><rect class="frame" x="0" y="0" width="100" height="50"/><rect class="kafka" x="80" y="10" width="40" height="9"/></svg>`
	if _, err := brokersInPods([]byte(inside)); err == nil {
		t.Error("a picture with the brokers half inside of the pod passes")
	}
}
