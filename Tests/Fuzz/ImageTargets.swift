import DiskImages
import Foundation
import X86

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
