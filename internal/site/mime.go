package site

import (
	"path"
	"strings"
)

// mimeTypes are the types of files by the lower-case extension, the same on every machine.
var mimeTypes = map[string]string{
	"html": "text/html; charset=utf-8", "htm": "text/html; charset=utf-8", "xhtml": "application/xhtml+xml",
	"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "mjs": "text/javascript; charset=utf-8", "cjs": "text/javascript; charset=utf-8",
	"json": "application/json", "map": "application/json", "jsonld": "application/ld+json", "geojson": "application/geo+json", "topojson": "application/json",
	"webmanifest": "application/manifest+json", "wasm": "application/wasm",
	"txt": "text/plain; charset=utf-8", "log": "text/plain; charset=utf-8", "md": "text/markdown; charset=utf-8", "csv": "text/csv; charset=utf-8",
	"tsv": "text/tab-separated-values; charset=utf-8", "ics": "text/calendar; charset=utf-8", "vcf": "text/vcard; charset=utf-8", "vtt": "text/vtt; charset=utf-8",
	"xml": "application/xml; charset=utf-8", "xsl": "application/xml; charset=utf-8", "rss": "application/rss+xml; charset=utf-8", "atom": "application/atom+xml; charset=utf-8",
	"yaml": "application/yaml", "yml": "application/yaml", "toml": "application/toml", "ts": "video/mp2t", "appcache": "text/cache-manifest; charset=utf-8",

	"svg": "image/svg+xml", "png": "image/png", "apng": "image/apng", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
	"webp": "image/webp", "avif": "image/avif", "heic": "image/heic", "jxl": "image/jxl", "bmp": "image/bmp", "ico": "image/x-icon", "tif": "image/tiff", "tiff": "image/tiff",

	"woff": "font/woff", "woff2": "font/woff2", "ttf": "font/ttf", "otf": "font/otf", "eot": "application/vnd.ms-fontobject",

	"mp4": "video/mp4", "m4v": "video/mp4", "webm": "video/webm", "ogv": "video/ogg", "mov": "video/quicktime", "avi": "video/x-msvideo", "mkv": "video/matroska",
	"m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml", "m4s": "video/iso.segment",
	"mp3": "audio/mpeg", "m4a": "audio/mp4", "aac": "audio/aac", "ogg": "audio/ogg", "oga": "audio/ogg", "opus": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac",
	"mid": "audio/midi", "midi": "audio/midi", "weba": "audio/webm",

	"pdf": "application/pdf", "zip": "application/zip", "gz": "application/gzip", "tgz": "application/gzip", "tar": "application/x-tar", "bz2": "application/x-bzip2",
	"xz": "application/x-xz", "7z": "application/x-7z-compressed", "rar": "application/vnd.rar", "zst": "application/zstd", "epub": "application/epub+zip",
	"doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint", "rtf": "application/rtf",
	"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation", "odt": "application/vnd.oasis.opendocument.text",
	"ods": "application/vnd.oasis.opendocument.spreadsheet", "odp": "application/vnd.oasis.opendocument.presentation",
	"apk": "application/vnd.android.package-archive", "dmg": "application/x-apple-diskimage", "exe": "application/vnd.microsoft.portable-executable",
	"glb": "model/gltf-binary", "gltf": "model/gltf+json", "usdz": "model/vnd.usdz+zip", "stl": "model/stl", "parquet": "application/vnd.apache.parquet",
}

// unknownType is of files whose extension says nothing.
const unknownType = "application/octet-stream"

// wellKnownTypes are of files without an extension.
var wellKnownTypes = map[string]string{".well-known/apple-app-site-association": "application/json"}

// extension of a path in lower case, without its dot; "" for none.
func extension(p string) string {
	return strings.ToLower(strings.TrimPrefix(path.Ext(p), "."))
}

// contentType is what a file is.
func contentType(p string) string {
	if t := wellKnownTypes[p]; t != "" {
		return t
	}
	if t := mimeTypes[extension(p)]; t != "" {
		return t
	}
	return unknownType
}

// compressible types have something to gain. Others are compressed as they are.
func compressible(mime string) bool {
	mime, _, _ = strings.Cut(mime, ";")
	switch {
	case strings.HasPrefix(mime, "text/"), strings.HasSuffix(mime, "+json"), strings.HasSuffix(mime, "+xml"):
		return true
	}
	switch mime {
	case "application/json", "application/xml", "application/wasm", "application/yaml", "application/toml", "application/rtf", "application/vnd.apple.mpegurl",
		"image/bmp", "image/x-icon", "font/ttf", "font/otf", "application/vnd.ms-fontobject", "model/stl", "model/gltf-binary":
		return true
	}
	return false
}

// hashed tells whether a file's name carries a digest of its content, so that another content has another name. It must not be wrong: clients
// keep such files for a year without asking. So what could be a date, a number or a word does not count.
func hashed(p string) bool {
	base := path.Base(p)
	stem, ext, ok := cutLast(base, ".")
	if !ok {
		return false
	}
	ext = strings.ToLower(ext)
	if ext == "map" || ext == "br" || ext == "gz" { // app.3f2a9c1b.js.map
		if inner, under, ok := cutLast(stem, "."); ok && mimeTypes[strings.ToLower(under)] != "" {
			stem, ext = inner, strings.ToLower(under)
		}
	}
	if ext == "html" || ext == "htm" {
		return false
	}
	i := strings.LastIndexAny(stem, ".-_")
	token := stem[i+1:]
	hex, letters, digits, upper, lower := true, false, false, false, false
	for _, c := range []byte(token) {
		switch {
		case '0' <= c && c <= '9':
			digits = true
		case 'a' <= c && c <= 'z':
			letters, lower, hex = true, true, hex && c <= 'f'
		case 'A' <= c && c <= 'Z':
			letters, upper, hex = true, true, false
		default:
			return false
		}
	}
	if !letters || !digits { // a date, a number, a word
		return false
	}
	if hex {
		month := len(token) < 16 && (strings.Contains(token, "dec") || strings.Contains(token, "feb")) // 12dec2024
		return len(token) >= 8 && len(token) <= 64 && !month
	}
	if i < 0 || len(token) != 8 {
		return false
	}
	switch ext { // what bundlers name: base32 as of esbuild, base64 as of Vite and Rollup
	case "js", "mjs", "css", "woff", "woff2", "wasm":
		return upper && (lower || !strings.ContainsAny(token, "0189"))
	}
	return false
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
