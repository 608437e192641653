import DiskImages
import Foundation
import Machine
import Teleport

extension VMProcess {
  /// Takes a snapshot of the running machine, which stands still meanwhile.
  ///
  /// The memory is on the host's disk before anything else changes; then the disks get images on top. Only the definition and
  /// the list, written last, make it hold.
  func takeSnapshot(_ wish: SnapshotRequest, _ session: ControlSession) throws -> ControlReply {
    let claim = try begin("pictured in a snapshot", from: [.running, .paused], to: .saving)
    defer {
      if claim.before == .running { claim.vm.resume() }
      settle(claim.before)
      finishPending()
    }
    claim.vm.pause()
    do {
      try folder.whileEditing {
        var work = try SnapshotWork(folder, wish, hasState: true)
        do {
          try takeSnapshot(&work, of: claim.vm, session)
        } catch {
          work.drop()
          throw error
        }
      }
    } catch {
      throw ManagementError(
        "no snapshot: \(ManagementError.text(for: error)); the machine is \(claim.before.rawValue) as before")
    }
    logger.info("snapshot \"\(wish.name)\" (\(wish.uuid))")
    return .done()
  }

  private func takeSnapshot(_ work: inout SnapshotWork, of vm: VirtualMachine, _ session: ControlSession) throws {
    try Files.makeDirectory(folder.snapshots)
    var shown = -1
    try saveMachine(vm, to: folder.snapshotState(work.snapshot.uuid)) { pages, total in
      let percent = total == 0 ? 100 : pages * 100 / total
      if percent != shown { session.sendProgress(.progress("saving \(percent) %")) }
      shown = percent
    }
    try work.makeOverlays()
    let overlays = try work.overlays.map { DiskOverlay(place: $0.place, image: try Qcow2Image(path: $0.path)) }
    try vm.putOnDisks(overlays) { try work.commit() }
  }
}
