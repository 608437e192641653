import Devices
import DiskImages
import Foundation
import GuestMemory
import SavedState

/// What a running machine was at one moment, but for its memory; and what it had written to the world since the moment before.
public struct Checkpoint: Sendable {
  /// The state of CPUs, devices and clock.
  public var sections: [StateSection] = []
  /// What it has written on serial ports.
  public var console: [ConsoleOutput] = []
  /// What it has written to disks.
  public var disks: [DiskWrites] = []
  /// How far its frames belong to this moment, by card.
  var frames: [Int: UInt64] = [:]

  public init() {}
}

/// What a guest has written to one disk.
public struct DiskWrites: Equatable, Sendable {
  /// The drive.
  public var place: HardwareDescription.StorageSlot.Place
  /// Blocks in the order of their place.
  public var blocks: [WriteGate.Block]

  public init(place: HardwareDescription.StorageSlot.Place, blocks: [WriteGate.Block]) {
    self.place = place
    self.blocks = blocks
  }
}

/// Which of a machine's output is held.
public struct HeldOutput: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  /// Frames, and what is written on serial ports.
  public static let world = HeldOutput(rawValue: 1)
  /// Writes to disks.
  public static let disks = HeldOutput(rawValue: 2)
}

/// Protection: a machine's output is held until another host has all that it depends on.
extension VirtualMachine {
  private var gates: [(place: HardwareDescription.StorageSlot.Place, gate: WriteGate)] {
    board.media.compactMap { slot, image in (image as? WriteGate).map { (slot.place, $0) } }
  }

  /// Holds what the guest sends from now on.
  /// - Parameter onHeld: called from any thread when something begins to wait; it must not block.
  public func holdOutput(_ which: HeldOutput, _ onHeld: @escaping @Sendable () -> Void) {
    atSafePoint {
      board.disks.drain()
      if which.contains(.world) {
        for port in board.networkPorts.values { port.pipe.toHost.hold(onHeld) }
        serialGate.hold(onHeld)
      }
      if which.contains(.disks) { for (_, gate) in gates { gate.holdWrites(onHeld) } }
    }
  }

  /// How much waits that no checkpoint has, in bytes.
  public var heldBytes: Int { serialGate.heldBytes + gates.reduce(0) { $0 + $1.gate.heldBytes } }

  /// What the machine is now. It stands still for as long as that takes, and its clock goes on.
  /// - Parameter pages: begins anew with those that were written since the last checkpoint.
  /// - Throws: what keeps a device from being saved.
  public func checkpoint(_ pages: PageSnapshot) throws -> Checkpoint {
    while true {
      if let made = try atSafePoint({ try takeCheckpoint(pages) }) { return made }
      // What the guest has asked for is done first, a reset for one.
      requests.sync {}
    }
  }

  private func takeCheckpoint(_ pages: PageSnapshot) throws -> Checkpoint? {
    guard requestCount == 0 else { return nil }
    board.disks.drain()
    let wasRunning = board.clock.isRunning
    return try board.clock.whileStill {
      if wasRunning { for device in board.devices { device.pause() } }
      defer { if wasRunning { for device in board.devices { device.resume() } } }
      var made = Checkpoint()
      made.sections = try sections()
      memory.dirtyLog.take(into: pages)
      for cpu in board.cpus { cpu.dropWriteTranslations() }
      for (slot, port) in board.networkPorts { made.frames[slot] = port.pipe.toHost.mark() }
      made.console = serialGate.seal()
      made.disks = gates.map { DiskWrites(place: $0.place, blocks: $0.gate.seal()) }
      return made
    }
  }

  /// Lets go what belongs to a checkpoint. A disk that cannot be written keeps what it should have got, and its guest sees
  /// that; the failure is told as others of the disk are.
  /// - Returns: whether the disks have taken what belongs to it.
  public func release(_ checkpoint: Checkpoint) -> Bool {
    let isWritten = gates.map { _, gate in
      commit { () throws(DiskImageError) in
        try gate.commit()
      } report: {
        gate.note(failure: $0)
      }
    }
    for (slot, mark) in checkpoint.frames { board.networkPorts[slot]?.pipe.toHost.release(through: mark) }
    serialGate.release()
    return isWritten.allSatisfy { $0 }
  }

  @discardableResult
  private func commit(_ body: () throws(DiskImageError) -> Void, report: (DiskImageError) -> Void) -> Bool {
    do throws(DiskImageError) {
      try body()
      return true
    } catch {
      report(error)
      return false
    }
  }

  /// Lets go everything, from now on as well.
  public func releaseOutput() {
    atSafePoint {
      board.disks.drain()
      for (_, gate) in gates {
        commit { () throws(DiskImageError) in
          try gate.open()
        } report: {
          gate.note(failure: $0)
        }
      }
      serialGate.releaseAll()
    }
    for port in board.networkPorts.values { port.pipe.toHost.releaseAll() }
  }

  // MARK: The other host's side

  /// What another machine's guest has written on its serial ports is shown on those of this one.
  public func show(_ output: [ConsoleOutput]) { serialGate.show(output) }

  /// Writes what another machine's guest has written. This one must not run.
  /// - Throws: `DiskImageError`; `MachineError` for a drive that has no disk which can be written.
  public func write(_ writes: DiskWrites) throws {
    guard let image = disk(at: writes.place) else { throw MachineError.noDisk }
    for block in writes.blocks {
      if let bytes = block.bytes {
        try image.write(bytes, at: block.offset)
      } else {
        guard block.offset < image.size else {
          throw DiskImageError.outOfRange(path: image.path, offset: block.offset, length: WriteGate.blockBytes)
        }
        let count = min(UInt64(WriteGate.blockBytes), image.size - block.offset)
        try image.writeZeroes(at: block.offset, count: count, mayUnmap: true)
      }
    }
  }

  private func disk(at place: HardwareDescription.StorageSlot.Place) -> (any DiskImage)? {
    board.media.first { $0.slot.place == place && $0.slot.isWritten }?.image
  }

  /// The disks that the guest writes, with their sizes in bytes.
  public var writtenDisks: [(place: HardwareDescription.StorageSlot.Place, size: UInt64)] {
    board.media.filter(\.slot.isWritten).map { ($0.slot.place, $0.image.size) }
  }

  /// Begins to note which pieces (`WriteGate.pieceBytes`) of the disks the guest writes; or ends it.
  public func noteDiskWrites(_ does: Bool) {
    atSafePoint {
      board.disks.drain()
      for (_, gate) in gates { if does { gate.noteWrites() } else { gate.stopNoting() } }
    }
  }

  /// The pieces of one disk that were written since the last call.
  public func takeWrittenPieces(of place: HardwareDescription.StorageSlot.Place) -> Set<UInt64> {
    gates.first { $0.place == place }?.gate.takeWritten() ?? []
  }

  /// Reads from a disk, also while the guest runs.
  /// - Throws: `DiskImageError`; `MachineError` for a drive that has no disk which can be written.
  public func readDisk(at place: HardwareDescription.StorageSlot.Place, offset: UInt64, count: Int) throws -> [UInt8] {
    guard let image = disk(at: place) else { throw MachineError.noDisk }
    return try image.bytes(at: offset, count: count)
  }

  /// What was written to the disks is on stable storage when this returns.
  public func flushDisks() throws {
    for (slot, image) in board.media where slot.isWritten { try image.flush() }
  }
}
