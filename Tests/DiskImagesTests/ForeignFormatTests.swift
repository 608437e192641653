import Foundation
import Testing

@testable import DiskImages

/// Images that are not raw are never taken as raw by accident.
@Suite struct ForeignFormatTests {
  let folder: ScratchFolder
  init() throws { folder = try ScratchFolder() }

  struct Sample: CustomTestStringConvertible, Sendable {
    var format: ForeignFormat
    var start: [UInt8] = []
    var offset = 0
    /// Counted from the end of the file.
    var end: [UInt8] = []
    var testDescription: String { "\(format) \(start)" }

    func bytes(count: Int = 4096) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: count)
      bytes.replaceSubrange(offset..<offset + start.count, with: start)
      if !end.isEmpty { bytes.replaceSubrange(count - 512..<count - 512 + end.count, with: end) }
      return bytes
    }
  }

  static let samples: [Sample] = [
    Sample(format: .qcow2, start: [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 2]),
    Sample(format: .qcow2, start: [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 3]),
    Sample(format: .qcow, start: [0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 1]),
    Sample(format: .qed, start: Array("QED\0".utf8)),
    Sample(format: .vmdk, start: Array("KDMV".utf8)),
    Sample(format: .vmdk, start: Array("COWD".utf8)),
    Sample(format: .vmdk, start: Array("# Disk DescriptorFile\nversion=1\n".utf8)),
    Sample(format: .vdi, start: [0x7F, 0x10, 0xDA, 0xBE], offset: 0x40),
    Sample(format: .vhd, start: Array("conectix".utf8)),
    Sample(format: .vhd, end: Array("conectix".utf8)),
    Sample(format: .vhd, end: [0] + Array("conectix".utf8)),
    Sample(format: .vhdx, start: Array("vhdxfile".utf8)),
    Sample(format: .parallels, start: Array("WithouFreSpacExt".utf8)),
    Sample(format: .parallels, start: Array("WithoutFreeSpace".utf8)),
    Sample(format: .bochs, start: Array("Bochs Virtual HD Image".utf8)),
    Sample(format: .dmg, end: Array("koly".utf8)),
    Sample(format: .gzip, start: [0x1F, 0x8B, 0x08]),
    Sample(format: .xz, start: [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]),
    Sample(format: .zstd, start: [0x28, 0xB5, 0x2F, 0xFD]),
    Sample(format: .bzip2, start: Array("BZh9".utf8) + [0x31, 0x41, 0x59, 0x26, 0x53, 0x59]),
  ]

  @Test(arguments: samples) func aKnownFormatIsRefusedUnlessInsisted(sample: Sample) throws {
    let bytes = sample.bytes()
    let path = try folder.file("disk one.img", bytes)
    for readOnly in [false, true] {
      #expect {
        try RawImage(path: path, readOnly: readOnly)
      } throws: {
        $0 as? DiskImageError == .foreign(path: path, format: sample.format)
          && "\($0)".contains(sample.format.name)
      }
    }
    #expect(try RawImage.foreignFormat(of: path) == sample.format)
    #expect(try RawImage(path: path, insists: true).size == UInt64(bytes.count))
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(bytes), "looking changes nothing")
  }

  @Test func everyFormatIsTried() { #expect(Set(Self.samples.map(\.format)) == Set(ForeignFormat.allCases)) }

  @Test(arguments: samples) func withoutOneByteOfItsMagicNumberItIsNone(sample: Sample) {
    for index in sample.start.indices.prefix(4) {
      var bytes = sample.bytes()
      bytes[sample.offset + index] ^= 0xFF
      #expect(ForeignFormat.recognize(head: Array(bytes.prefix(128)), tail: Array(bytes.suffix(512))) == nil)
    }
  }

  @Test func shortAndRandomBytesAreNoFormatAndNoTrap() throws {
    for sample in Self.samples {
      let head = sample.bytes()
      for count in 0..<130 {
        _ = ForeignFormat.recognize(head: Array(head.prefix(count)), tail: Array(head.prefix(count)))
      }
    }
    #expect(ForeignFormat.recognize(head: [], tail: []) == nil)
    // A disk with a boot record, a Linux file system, an ISO for hard disks: raw.
    var disk = [UInt8](repeating: 0, count: 4096)
    disk[510] = 0x55
    disk[511] = 0xAA
    #expect(try RawImage.foreignFormat(of: folder.file("mbr.img", disk)) == nil)
    #expect(try RawImage.foreignFormat(of: folder.file("small.img", [1])) == nil)
  }

  @Test func theCommandsAreThoseOfTheTools() {
    #expect(ForeignFormat.qcow2.conversion(of: "/a/d.qcow2") == "qemu-img convert -f qcow2 -O raw /a/d.qcow2 /a/d.img")
    #expect(ForeignFormat.vhd.conversion(of: "/a/d") == "qemu-img convert -f vpc -O raw /a/d /a/d.img")
    #expect(
      ForeignFormat.vdi.conversion(of: "/a/my d.vdi") == "qemu-img convert -f vdi -O raw '/a/my d.vdi' '/a/my d.img'")
    #expect(ForeignFormat.xz.conversion(of: "d.img.xz") == "xz -dc d.img.xz > d.img")
  }
}
