// Command resize makes images smaller over HTTP. It is an ordinary net/http server: it runs anywhere that sets PORT.
package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
)

const (
	maxBody   = 20 << 20   // bytes
	maxPixels = 40_000_000 // of an image, which takes 4 bytes for each in memory
	maxWidth  = 4096
	maxWidths = 10
)

func main() {
	http.HandleFunc("POST /{$}", thumbnails)
	http.HandleFunc("GET /sample", sample)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8000"), nil))
}

// thumbnails answers a PNG, JPEG or GIF with the same as wide as ?w= says; with ?w=80,160,320 it answers a zip of several.
func thumbnails(w http.ResponseWriter, r *http.Request) {
	widths, err := parseWidths(r.URL.Query().Get("w"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	src, format, err := decode(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		status := http.StatusUnsupportedMediaType
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) || errors.Is(err, errTooBig) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), status)
		return
	}
	log.Printf("%s of %d x %d to %v", format, src.Bounds().Dx(), src.Bounds().Dy(), widths)
	if len(widths) == 1 {
		w.Header().Set("Content-Type", "image/"+format)
		err = encode(w, resize(src, widths[0]), format)
	} else {
		w.Header().Set("Content-Type", "application/zip")
		err = encodeAll(w, src, widths, format)
	}
	if err != nil {
		log.Print(err) // the answer has begun
	}
}

func parseWidths(s string) ([]int, error) {
	parts := strings.Split(cmp.Or(s, "320"), ",")
	if len(parts) > maxWidths {
		return nil, fmt.Errorf("w has %d widths; at most %d", len(parts), maxWidths)
	}
	var widths []int
	for _, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > maxWidth {
			return nil, fmt.Errorf("w=%q: a width is 1 to %d pixels", p, maxWidth)
		}
		widths = append(widths, n)
	}
	return widths, nil
}

var errTooBig = fmt.Errorf("the image has more than %d million pixels", maxPixels/1_000_000)

// decode looks at an image's size before it spends memory on it.
func decode(body io.Reader) (image.Image, string, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, "", err
	}
	info, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, "", fmt.Errorf("send a PNG, JPEG or GIF as body: %w", err)
	}
	if info.Width*info.Height > maxPixels {
		return nil, "", errTooBig
	}
	return image.Decode(bytes.NewReader(data))
}

func encode(w io.Writer, m image.Image, format string) error {
	switch format {
	case "jpeg":
		return jpeg.Encode(w, m, &jpeg.Options{Quality: 85})
	case "gif":
		return gif.Encode(w, m, nil)
	}
	return png.Encode(w, m)
}

func encodeAll(w io.Writer, src image.Image, widths []int, format string) error {
	z := zip.NewWriter(w)
	for _, width := range widths {
		f, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("%d.%s", width, format), Method: zip.Store})
		if err == nil {
			err = encode(f, resize(src, width), format)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

// resize makes an image narrower, its height in proportion: each pixel is the mean of those that it covers. Images are never enlarged.
func resize(src image.Image, width int) image.Image {
	b := src.Bounds()
	if width >= b.Dx() {
		return src
	}
	height := max(1, b.Dy()*width/b.Dx())
	dst := image.NewRGBA64(image.Rect(0, 0, width, height))
	for y := range height {
		y0, y1 := b.Min.Y+y*b.Dy()/height, b.Min.Y+(y+1)*b.Dy()/height
		for x := range width {
			x0, x1 := b.Min.X+x*b.Dx()/width, b.Min.X+(x+1)*b.Dx()/width
			var red, green, blue, alpha, n uint64
			for sy := y0; sy < y1; sy++ {
				for sx := x0; sx < x1; sx++ {
					r, g, b, a := src.At(sx, sy).RGBA()
					red, green, blue, alpha, n = red+uint64(r), green+uint64(g), blue+uint64(b), alpha+uint64(a), n+1
				}
			}
			dst.SetRGBA64(x, y, color.RGBA64{R: uint16(red / n), G: uint16(green / n), B: uint16(blue / n), A: uint16(alpha / n)})
		}
	}
	return dst
}

// sample is a picture of 5 MB that is painted while it is sent: it is never in memory as a whole.
func sample(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/png")
	encoder := png.Encoder{CompressionLevel: png.NoCompression}
	if err := encoder.Encode(w, gradient{}); err != nil {
		log.Print(err)
	}
}

// gradient is an image that is computed pixel by pixel.
type gradient struct{}

func (gradient) ColorModel() color.Model { return color.RGBAModel }
func (gradient) Bounds() image.Rectangle { return image.Rect(0, 0, 1366, 1280) }
func (gradient) Opaque() bool            { return true }
func (gradient) At(x, y int) color.Color {
	return color.RGBA{R: uint8(x * 255 / 1365), G: uint8(y * 255 / 1279), B: uint8((x ^ y) & 255), A: 255}
}
