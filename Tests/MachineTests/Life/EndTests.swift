import Foundation
import Testing

@testable import Machine

/// A machine that is let go leaves nothing behind: a target that drops a thousand transfers has built as many.
@Suite struct EndTests {
  private final class Watch {
    let name: String
    weak var object: AnyObject?
    init(_ name: String, _ object: AnyObject) {
      self.name = name
      self.object = object
    }
  }

  /// Everything that a machine with all there is consists of.
  private func machine(cpus: Int, run: Bool) throws -> [Watch] {
    let disk = NSTemporaryDirectory() + "end-\(UUID().uuidString).img"
    #expect(FileManager.default.createFile(atPath: disk, contents: Data(count: 1 << 20)))
    defer { try? FileManager.default.removeItem(atPath: disk) }
    let machine = try BareMetalMachine("walker32", memoryMB: 4, cpus: cpus) { configuration in
      configuration.testDevice = true
      configuration.storageControllers = [
        .init(
          name: "IDE", bus: .ide,
          attachments: [
            .init(port: 0, device: 0, kind: .hdd, medium: disk),
            .init(port: 1, device: 0, kind: .dvddrive, medium: nil),
          ])
      ]
    }
    if run {
      machine.vm.start()
      machine.wait(for: "a line") { !$0.text.isEmpty }
      machine.vm.pause()
      _ = try machine.vm.saveState()
      machine.vm.resume()
    }
    let vm = machine.vm
    let board = vm.board
    var watched = [
      Watch("machine", vm), Watch("board", board), Watch("memory", board.memory), Watch("clock", board.clock),
    ]
    watched += board.devices.map { Watch($0.name, $0) }
    watched += board.cpus.map { Watch("cpu\($0.index)", $0) }
    watched += board.environments.enumerated().map { Watch("environment \($0.offset)", $0.element) }
    watched += board.images.map { Watch("image", $0) }
    watched += vm.threads.enumerated().map { Watch("thread \($0.offset)", $0.element) }
    vm.powerOff()
    return watched
  }

  @Test(arguments: [1, 2], [false, true]) func nothingIsLeft(cpus: Int, run: Bool) throws {
    let watched = try machine(cpus: cpus, run: run)
    // A thread that has ended lets go of its last reference a moment later.
    let end = Date(timeIntervalSinceNow: BareMetalMachine.patience)
    while watched.contains(where: { $0.object != nil }) && Date() < end && run { Thread.sleep(forTimeInterval: 0.01) }
    #expect(watched.filter { $0.object != nil }.map(\.name) == [])
  }
}
