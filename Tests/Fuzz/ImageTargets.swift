import Foundation
import X86

@testable import DiskImages
@testable import Machine

/// A medium of any size, read and written at its edges; and a kernel image as a machine is made with it.
let imageTarget = FuzzTarget(name: "image") { bytes in
  let path = NSTemporaryDirectory() + "/vmctl-fuzz-\(getpid())"
  defer { unlink(path) }
  guard (try? Data(bytes).write(to: URL(fileURLWithPath: path))) != nil else { return }
  if let image = try? RawImage(path: path) {
    // A last sector that is cut counts as one.
    FuzzTarget.check(
      image.size == UInt64(bytes.count + 511) & ~511, "a medium of \(image.size) bytes in \(bytes.count)")
    var sector = [UInt8](repeating: 0, count: 4096)
    for offset in [0, image.size / 2, image.size &- 512, image.size, .max - 100] as [UInt64] {
      sector.withUnsafeMutableBytes { try? image.read(at: offset, into: $0) }
    }
    try? sector.withUnsafeBytes { try image.write(at: image.size &- 512, from: $0) }
  }
  var configuration = MachineConfiguration()
  configuration.memoryMB = 1
  configuration.kernel = path
  _ = try? BootItems.files(of: configuration)
}

/// A qcow2 image, read, written, counted.
let qcow2Target = FuzzTarget(
  name: "qcow2",
  seeds: {
    let path = NSTemporaryDirectory() + "/vmctl-fuzz-seed-\(getpid())"
    defer { unlink(path) }
    return try [(9, 2), (9, 3), (12, 3)].map { bits, version in
      unlink(path)
      var header = Qcow2Header()
      (header.clusterBits, header.version, header.virtualSize) = (bits, UInt32(version), 1 << 16)
      try Qcow2Volume.create(header, on: MediumFile.create(path: path))
      let image = try Qcow2Image(path: path)
      let sector = [UInt8](repeating: 7, count: 1024)
      try sector.withUnsafeBytes { try image.write(at: 1024, from: $0) }
      try image.flush()
      return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }
  }
) { bytes in
  let path = NSTemporaryDirectory() + "/vmctl-fuzz-\(getpid())"
  defer { unlink(path) }
  // What it may be based on is what is there on this computer: only itself.
  guard (try? Data(bytes).write(to: URL(fileURLWithPath: path))) != nil,
    let file = try? MediumFile(path: path, readOnly: true),
    let header = try? Qcow2Header(readFrom: file), header.backingFile == nil,
    let image = try? Qcow2Image(path: path)
  else { return }
  var sectors = [UInt8](repeating: 0, count: 4096)
  for offset in [0, 512, image.size / 2 & ~511, image.size &- 4096, .max - 100] as [UInt64] {
    sectors.withUnsafeMutableBytes { try? image.read(at: offset, into: $0) }
    try? sectors.withUnsafeBytes { try image.write(at: offset, from: $0) }
    try? image.discard(at: offset, count: 4096)
    try? image.writeZeroes(at: offset, count: 1024, mayUnmap: false)
    try? image.flush()
  }
  _ = try? image.problems()
  try? image.grow(to: image.size + 512)
}

/// Instructions: a first byte for the mode, then code.
let decoderTarget = FuzzTarget(name: "decoder") { bytes in
  guard let mode = bytes.first else { return }
  let bits = [16, 32, 64][Int(mode) % 3]
  var rest = Array(bytes.dropFirst())
  while !rest.isEmpty {
    let found = Disassembler.instruction(rest, bits: bits, address: 0x1000)
    FuzzTarget.check((1...15).contains(found.length), "an instruction of \(found.length) bytes")
    rest.removeFirst(min(max(found.length, 1), rest.count))
  }
}
