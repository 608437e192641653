import DiskImages
import Machine

/// The first copy of a protected machine's disks, made while it runs: what the backup lacks of each, and what is written
/// meanwhile.
struct DiskCopy {
  let machine: any ProtectableMachine
  let link: Connection
  let timeoutMS: Int
  /// The disks with their sizes in bytes, in the order by which both sides number them.
  let disks: [(place: HardwareDescription.StorageSlot.Place, size: UInt64)]
  let queue: (Wire.Frame) throws -> Void
  /// Called now and then; what it throws ends the copy.
  let onProgress: () throws -> Void

  /// All of the disks, but for a little that was written at last.
  func send() throws {
    for index in disks.indices { try send(index) }
  }

  private func send(_ index: Int) throws {
    let (place, size) = disks[index]
    let most = UInt64(DiskComparison.mostPieces) * WriteGate.pieceBytes
    var offset: UInt64 = 0
    while offset < size {
      let bytes = try machine.readDisk(at: place, offset: offset, count: Int(min(most, size - offset)))
      let comparison = DiskComparison(disk: index, offset: offset, bytes)
      for start in try differences(comparison) {
        let piece = Array(bytes[start..<min(start + DiskComparison.pieceBytes, bytes.count)])
        try send(index, at: offset + UInt64(start), piece)
      }
      offset += UInt64(bytes.count)
      try onProgress()
    }
    // What was written meanwhile, until it is little.
    for _ in 0..<10 where try sendWritten(index) < 64 { return }
  }

  /// Where the backup has something else.
  private func differences(_ comparison: DiskComparison) throws -> [Int] {
    try link.send(.compare, comparison.encoded(), timeoutMS: timeoutMS)
    let answer = try link.receive(timeoutMS: timeoutMS, "comparing disks").expect(.differs)
    return try comparison.offsets(in: answer.payload)
  }

  /// What was written to the disks since it was sent.
  func sendWritten() throws {
    for index in disks.indices { _ = try sendWritten(index) }
  }

  /// - Returns: how many pieces that was.
  private func sendWritten(_ index: Int) throws -> Int {
    let (place, size) = disks[index]
    let pieces = machine.takeWrittenPieces(of: place)
    for piece in pieces.sorted() {
      let offset = piece * WriteGate.pieceBytes
      let count = Int(min(WriteGate.pieceBytes, size - offset))
      try send(index, at: offset, try machine.readDisk(at: place, offset: offset, count: count))
    }
    return pieces.count
  }

  private func send(_ index: Int, at offset: UInt64, _ bytes: [UInt8]) throws {
    try queue(Wire.Frame(.disk, try EpochContents.encode(disk: index, at: offset, bytes)))
  }
}
